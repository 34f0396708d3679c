#!/usr/bin/env node
import { Command, CommanderError } from 'commander'
import { atLeastOne, device } from './arguments.js'
import { addBench } from './bench-command.js'
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
    .option(
      '-d, --device <device>',
      "'auto' (default: a GPU when one works), 'cpu', 'cuda' or 'cuda:1'",
      device,
    )
    .option('-t, --threads <number>', 'CPU threads (default: all that this process may use)', atLeastOne)
    .option('-j, --json', 'one JSON object a line, in the order of the images')
    .option('-o, --output <file>', 'write the results to a file; JSON lines if it ends in .ndjson or .jsonl')
    .option(
      '--resume',
      'go on with an interrupted run of the same model: keep the results in --output, do the other images',
    )
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
