#!/usr/bin/env node
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { type BenchOptions, bench, benchCompare, benchReport } from './bench.js'
import { type ClassifyOptions, classify } from './classify.js'
import { doctor } from './doctor.js'
import { embed } from './embed.js'
import { asJson, complain, type ExitCode, exitCode } from './exit.js'
import type { ImageOptions } from './images.js'
import { info } from './info.js'
import { packageVersion } from './version.js'

const imagesHelp = `
Images are files, folders (walked recursively), patterns in quotes ('photos/**/*.jpg') or http(s) addresses:
JPEG, PNG, WebP, GIF (first frame), TIFF, AVIF, SVG. --model takes a .safetensors file of a ResNet by torchvision,
timm or transformers, or a folder with model.safetensors and its config.json and preprocessor_config.json.
Without --model the embedded one is used, which knows handwritten digits only.`

const exitHelp = `
Exit code: 0 all good, 1 some inputs failed, 2 wrong usage, 3 the model could not be loaded.`

/** Adds the options that classify and embed share. */
function overImages(command: Command): Command {
  return command
    .argument('<images...>', 'files, folders, patterns or addresses')
    .option('-m, --model <file or folder>', 'checkpoint (default: the embedded digits model)')
    .addOption(new Option('-d, --device <device>', 'where to run').choices(['auto', 'cpu']))
    .option('-t, --threads <number>', 'CPU threads (default: all that this process may use)', atLeastOne)
    .option('-j, --json', 'one JSON object a line, in the order of the images')
    .option('-o, --output <file>', 'write the results to a file; JSON lines if it ends in .ndjson or .jsonl')
    .option('--resume', 'go on with an interrupted run: keep the results in --output, do the other images')
}

function atLeastOne(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1) return value
  throw new InvalidArgumentError('Expected a whole number of at least 1.')
}

/** '1,8' → [1, 8]; what is no such list is commander's error. */
function numbers(smallest: number, whole: boolean): (text: string) => number[] {
  return (text) => {
    const values = text.split(',').map(Number)
    if (values.every((value) => value >= smallest && (!whole || Number.isInteger(value)))) return values
    throw new InvalidArgumentError(
      `Expected ${whole ? 'whole ' : ''}numbers of at least ${smallest}, as in 1,8.`,
    )
  }
}

function positive(text: string): number {
  const value = Number(text)
  if (value > 0 && Number.isFinite(value)) return value
  throw new InvalidArgumentError('Expected a number above 0.')
}

function peers(text: string): string[] {
  const names = words(text)
  if (names.every((name) => name === 'onnxruntime-node')) return names
  throw new InvalidArgumentError("Expected 'onnxruntime-node'.")
}

function words(text: string): string[] {
  return text.split(',').filter((word) => word !== '')
}

function addBench(program: Command, finish: (work: Promise<ExitCode>) => Promise<void>): void {
  const command = program
    .command('bench')
    // Its subcommands have an --output of their own.
    .enablePositionalOptions()
    .description(
      'Measure this machine: throughput, latency under load, event loop, memory; alone or beside a peer.',
    )
    .addOption(
      new Option('--network <names>', 'architectures, random weights')
        .argParser(words)
        .default(['resnet50'], 'resnet50'),
    )
    .option('-m, --model <file or folder>', 'a checkpoint instead')
    .option('--onnx <file>', 'the same network as ONNX, for the peers')
    .addOption(
      new Option('--peer <names>', "'onnxruntime-node', installed in this folder")
        .argParser(peers)
        .default([], 'none'),
    )
    .option('--size <pixels>', 'height and width of the images', atLeastOne, 224)
    .addOption(
      new Option('-b, --batch <list>', 'images a call').argParser(numbers(1, true)).default([1, 8], '1,8'),
    )
    .addOption(
      new Option('-t, --threads <list>', '0: all that this process may use')
        .argParser(numbers(0, true))
        .default([0], '0'),
    )
    .addOption(
      new Option('--load <list>', 'also single images arriving at random, at these shares of the capacity')
        .argParser(numbers(0.01, false))
        .default([], 'none'),
    )
    .addOption(new Option('-d, --device <device>', 'where to run').choices(['auto', 'cpu']).default('cpu'))
    .option('--rounds <number>', 'fresh processes a trial and driver', atLeastOne, 5)
    .option('--seconds <number>', 'measured in each, after warming up', positive, 3)
    .option('--limits', "measure the machine's own ceilings first: multiply-adds at each width, memory copy")
    .option('--layers', 'time every step of the network, with --limits as a share of its bound')
    .option('-o, --output <file>', 'write everything as JSON')
    .option('--report <file>', 'draw it as one HTML file (needs: npm install echarts)')
    .addHelpText(
      'after',
      `
Examples:
  $ resnet bench
  $ resnet bench --network resnet18,resnet50 --batch 1,8,32 --load 0.5,0.9 --output a.json --report a.html
  $ resnet bench --limits --layers --batch 1
  $ resnet bench --model r50.safetensors --onnx r50.onnx --peer onnxruntime-node
  $ resnet bench compare a.json b.json
  $ resnet bench report a.json --output a.html
Let the machine idle meanwhile; --rounds 4 or more let compare give an interval.`,
    )
    .action((options: BenchOptions) => finish(bench(options)))

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

  command
    .command('report')
    .description('Draw a result as one HTML file.')
    .argument('<results>', 'JSON of bench --output')
    .requiredOption('-o, --output <file>', 'the HTML file')
    .action((file: string, options: { output: string }) => finish(benchReport(file, options)))
}

function noStandardInput(names: string[], command: Command): void {
  if (names.includes('-')) {
    command.error("error: images are not read from standard input ('-'); name files, folders or addresses.")
  }
}

function resumesAFile({ output, resume }: ImageOptions, command: Command): void {
  if (resume && output === undefined) {
    command.error('error: --resume needs --output <file>: the file of the run to go on with.')
  }
}

function createProgram(finish: (work: Promise<ExitCode>) => Promise<void>): Command {
  const program = new Command('resnet')
    .description(
      'ResNet inference: labels and embeddings of images, with PyTorch checkpoints, on this machine.',
    )
    .version(packageVersion, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'explain a command')
    .helpCommand(false)
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .showHelpAfterError('(resnet --help explains)')
    .exitOverride()
    .addHelpText(
      'after',
      `
Examples:
  $ resnet classify cat.jpg --model resnet50.safetensors
  $ resnet classify photos/ --model resnet50.safetensors --json > labels.jsonl
  $ resnet embed 'photos/**/*.jpg' --model resnet50.safetensors --json --output vectors.jsonl
  $ resnet info resnet50.safetensors
  $ resnet doctor

A checkpoint from PyTorch, in two lines of Python (pip install torchvision safetensors):
  from torchvision.models import resnet50; from safetensors.torch import save_file
  save_file(resnet50(weights='IMAGENET1K_V1').state_dict(), 'resnet50.safetensors')
${exitHelp}`,
    )

  overImages(program.command('classify'))
    .description('Name what is on each image: the likeliest labels with their probabilities.')
    .option('-n, --top <number>', 'labels an image', atLeastOne, 5)
    .addHelpText(
      'after',
      `${imagesHelp}

Examples:
  $ resnet classify digit.png
  $ resnet classify photos/ --model resnet50.safetensors --top 1
  $ resnet classify photos/ --model resnet50.safetensors --output labels.ndjson --resume
  {"file":"photos/cat.jpg","predictions":[{"label":"tabby","index":281,"score":0.62}, …]}
  {"file":"photos/torn.jpg","error":{"code":"ERR_RESNET_IMAGE","message":"…"}}
${exitHelp}`,
    )
    .action((names: string[], options: ClassifyOptions, command: Command) => {
      noStandardInput(names, command)
      resumesAFile(options, command)
      return finish(classify(names, options))
    })

  overImages(program.command('embed'))
    .description(
      'Turn each image into a vector: the pooled features before the head, for search and clustering.',
    )
    .addHelpText(
      'after',
      `${imagesHelp}

Examples:
  $ resnet embed photos/ --model resnet50.safetensors --json --output vectors.jsonl
  {"file":"photos/cat.jpg","embedding":[0.4281,0.0133, …]}
${exitHelp}`,
    )
    .action((names: string[], options: ImageOptions, command: Command) => {
      noStandardInput(names, command)
      resumesAFile(options, command)
      return finish(embed(names, options))
    })

  program
    .command('info')
    .description('Say what a checkpoint is: architecture, parameters, labels, preprocessing, tensors.')
    .argument('<checkpoint>', '.safetensors file, or a folder with model.safetensors')
    .option('-j, --json', 'as one JSON object, with every tensor')
    .addHelpText(
      'after',
      `\nExamples:\n  $ resnet info resnet50.safetensors\n  $ resnet info ./resnet-50/ --json\n${exitHelp}`,
    )
    .action((checkpoint: string, options: { json?: boolean }) => finish(info(checkpoint, options)))

  addBench(program, finish)

  program
    .command('doctor')
    .description(
      'Check this machine and this installation: versions, CPU, instruction sets, threads, a self-test.',
    )
    .option('-j, --json', 'as one JSON object')
    .addHelpText('after', '\nExit code: 0 all good, 1 something is wrong.')
    .action((options: { json?: boolean }) => finish(doctor(options)))

  return program
}

async function main(argv: string[]): Promise<void> {
  // A reader that leaves early (`resnet --help | head -1`) is no error. Output, which writes all results, has its own
  // handler beside this one and reports what else goes wrong.
  process.stdout.on('error', () => {})
  const program = createProgram(async (work) => {
    process.exitCode = await work
  })
  try {
    await program.parseAsync(argv)
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has written the help, the version or what is wrong.
      process.exitCode = error.exitCode === 0 ? exitCode.ok : exitCode.usage
      return
    }
    const { code, message } = asJson(error)
    complain(`resnet: ${message} (${code})`)
    process.exitCode = exitCode.someFailed
  }
}

void main(process.argv)
