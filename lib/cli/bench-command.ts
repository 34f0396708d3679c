import { type Command, Option } from 'commander'
import { peerNames } from '../bench/peers.js'
import { among, atLeastOne, device, numbersBetween, positive, wholeNumbers, words } from './arguments.js'
import { type BenchOptions, bench, benchCompare, benchReport } from './bench.js'
import type { ExitCode } from './exit.js'

/** `resnet bench` with its subcommands. */
export function addBench(program: Command, finish: (work: Promise<ExitCode>) => Promise<void>): void {
  const command = program
    .command('bench')
    // Its subcommands have an --output of their own.
    .enablePositionalOptions()
    .description(
      'Measure this machine: throughput, latency under load, event loop, memory; alone, beside peers, or a server.',
    )
  addWhat(command)
  addPeers(command)
  addServer(command)
  command
    .option('--rounds <number>', 'fresh processes a trial and driver', atLeastOne, 5)
    .option('--seconds <number>', 'measured in each, after warming up', positive, 3)
    .option(
      '--limits',
      "measure the machine's own ceilings first (a GPU tells its own); every figure as a share of its bound",
    )
    .option('--layers', 'time every step of the network, with --limits as a share of its bound')
    .option('-o, --output <file>', 'write everything as JSON')
    .option('--report <file>', 'draw it as one HTML file (needs: npm install echarts)')
    .addHelpText('after', help)
    .action((options: BenchOptions) => finish(bench(options)))
  addCompare(command, finish)
  addReport(command, finish)
}

const help = `
Examples:
  $ resnet bench
  $ resnet bench --network resnet18,resnet50 --batch 1,8,32 --load 0.3,0.5,0.7,0.9 --output a.json --report a.html
  $ resnet bench --limits --layers --batch 1
  $ resnet bench --device cuda --limits --layers --batch 64
  $ resnet bench --model r50.safetensors --images photos/ --load 0.5
  $ resnet bench --network resnet50 --peer installed --python venv/bin/python
  $ resnet bench --model r50.safetensors --onnx r50.onnx --peer onnxruntime-node
  $ MODEL=r50.safetensors resnet bench --server server.mjs --images photos/ --connections 1,16 --load 0.5,0.9
  $ resnet bench --url http://127.0.0.1:8080/classify --images photos/ --rate 20,50,100
  $ resnet bench compare a.json b.json
  $ resnet bench report a.json --output a.html
Let the machine idle meanwhile; --rounds 4 or more let compare give an interval.`

/** The trials: every combination of these. */
function addWhat(command: Command): void {
  command
    .addOption(
      new Option('--network <names>', 'architectures, random weights')
        .argParser(words)
        .default(['resnet50'], 'resnet50'),
    )
    .option('-m, --model <file or folder>', 'a checkpoint instead')
    .option('--size <pixels>', 'height and width of the images', atLeastOne, 224)
    .addOption(
      new Option('-b, --batch <list>', 'images a call').argParser(wholeNumbers(1)).default([1, 8], '1,8'),
    )
    .addOption(
      new Option('-t, --threads <list>', '0: all that this process may use')
        .argParser(wholeNumbers(0))
        .default([0], '0'),
    )
    .addOption(
      new Option(
        '--lanes <list>',
        'batches at once, each with a caller of its own (default: one caller, lanes as the model decides)',
      ).argParser(wholeNumbers(1)),
    )
    .addOption(
      new Option(
        '--dtype <list>',
        'what the network computes in (default: float32; float16 on CUDA)',
      ).argParser(among(['float32', 'float16', 'bfloat16', 'int8'])),
    )
    .addOption(
      new Option('-d, --device <device>', "'auto', 'cpu', 'cuda' or 'cuda:1'")
        .argParser(device)
        .default('cpu'),
    )
    .addOption(
      new Option('--load <list>', 'also single images arriving at random, at these shares of the capacity')
        .argParser(numbersBetween(0.01, 10))
        .default([], 'none'),
    )
    .addOption(
      new Option('--rate <list>', 'the same at so many images a second')
        .argParser(numbersBetween(0.01, 1_000_000))
        .default([], 'none'),
    )
    .option('--images <files...>', 'also from encoded images to labels; files, folders or patterns')
}

function addPeers(command: Command): void {
  command
    .addOption(
      new Option('--peer <names>', `of ${peerNames.join(', ')}; or 'installed': all that are`)
        .argParser(among([...peerNames, 'installed']))
        .default([], 'none'),
    )
    .option('--onnx <file>', 'the same network as --model, for the peers that read ONNX')
    .option('--python <interpreter>', 'which has the peers in Python')
}

function addServer(command: Command): void {
  command
    .option('--url <address>', 'measure a server that answers a POST of an image; with --server its path')
    .option('--server <file>', 'a Node.js program that listens on $PORT and prints its address')
    .addOption(
      new Option('--connections <list>', 'requests under way at once')
        .argParser(wholeNumbers(1))
        .default([8], '8'),
    )
}

function addCompare(command: Command, finish: (work: Promise<ExitCode>) => Promise<void>): void {
  command
    .command('compare')
    .description(
      'Say whether the second result differs from the first, with 95 % intervals; exit code 1 when worse.',
    )
    .argument('<before>', 'JSON of bench --output')
    .argument('<after>', 'the same, later')
    .option('-j, --json', 'one JSON object a line')
    .action((before: string, after: string, options: { json?: boolean }) =>
      finish(benchCompare(before, after, options)),
    )
}

function addReport(command: Command, finish: (work: Promise<ExitCode>) => Promise<void>): void {
  command
    .command('report')
    .description('Draw a result as one HTML file.')
    .argument('<results>', 'JSON of bench --output')
    .requiredOption('-o, --output <file>', 'the HTML file')
    .action((file: string, options: { output: string }) => finish(benchReport(file, options)))
}
