import { existsSync } from 'node:fs'
import path from 'node:path'
import { architectureNamed } from '../architecture/families.js'
import type { Load, Network, Trial } from '../bench/types.js'
import { invalidArgument } from '../errors.js'
import { addon } from '../native/call.js'
import { ResNet } from '../resnet.js'
import { packageRoot } from '../root.js'
import type { BenchOptions } from './bench.js'
import { expandInputs } from './inputs.js'

/** What the options ask to measure. */
export async function trialsOf(options: BenchOptions): Promise<Trial[]> {
  refuseUnused(options)
  const images = await imagesOf(options)
  if (options.url !== undefined || options.server !== undefined) return serverTrials(options, images)
  const networks = await networksOf(options)
  const dtypes = options.dtype ?? [options.device.startsWith('cuda') ? 'float16' : 'float32']
  const threadCounts = options.threads.map((count) => (count === 0 ? addon().cpuInfo().threads : count))
  const inputs = images.length === 0 ? [{}] : [{}, { images }]
  const { device } = options
  return product(networks, dtypes, threadCounts, options.lanes ?? [undefined], options.batch, inputs).flatMap(
    ([network, dtype, threads, lanes, batch, input]) =>
      loadsOf(options).map(
        (load): Trial => ({
          network,
          device,
          dtype,
          batch,
          threads,
          load,
          ...(lanes === undefined ? {} : { lanes }),
          ...input,
        }),
      ),
  )
}

/** What would change nothing is a mistake. @throws ERR_RESNET_INVALID_ARGUMENT */
function refuseUnused({ url, server, model, onnx, peer, layers }: BenchOptions): void {
  const [option, asked] = server === undefined ? ['--url', url] : ['--server', server]
  if (asked !== undefined) {
    const given = { '--model': model, '--onnx': onnx, '--peer': peer[0], '--layers': layers }
    for (const [name, value] of Object.entries(given)) {
      if (value === undefined) continue
      throw invalidArgument(
        `bench: received ${name} with a server, '${asked}', which has its own network; leave it out, or measure without ${option}`,
      )
    }
  }
  if (onnx !== undefined && model === undefined) {
    throw invalidArgument(
      `bench: expected --model with --onnx '${onnx}', the same network for the peers; received none`,
    )
  }
}

type Lists<T extends unknown[]> = { [K in keyof T]: readonly T[K][] }

/** Every combination, the last list's items changing first. */
function product<T extends unknown[]>(...lists: Lists<T>): T[] {
  return lists.reduce<unknown[][]>(
    (rows, list) => rows.flatMap((row) => (list as readonly unknown[]).map((item) => [...row, item])),
    [[]],
  ) as T[]
}

/** The closed loop comes first: it gives the rates of the open ones. */
function loadsOf({ load, rate }: BenchOptions): Load[] {
  return [
    { kind: 'closed' },
    ...load.map((share): Load => ({ kind: 'open', share })),
    ...rate.map((perSecond): Load => ({ kind: 'rate', perSecond })),
  ]
}

export async function networksOf({ network, model, onnx, size }: BenchOptions): Promise<Network[]> {
  if (model === undefined) {
    // One that there is not is said before anything is measured.
    for (const name of network) architectureNamed(name, {}, 'bench')
    return network.map((name) => ({ name, channels: 3, height: size, width: size }))
  }
  const loaded = await ResNet.load(model)
  const { name, inChannels } = loaded.architecture
  await loaded.dispose()
  const checkpoint = path.resolve(model)
  return [
    {
      name,
      channels: inChannels,
      height: size,
      width: size,
      checkpoint,
      ...(onnx === undefined ? {} : { onnx: path.resolve(onnx) }),
    },
  ]
}

/** Local files, for they are read before it is timed. */
async function imagesOf({ images = [] }: BenchOptions): Promise<string[]> {
  const inputs = await expandInputs(images)
  return inputs.map(({ file, image, error }) => {
    if (error !== undefined) throw error
    if (typeof image === 'string' && existsSync(image)) return path.resolve(image)
    throw invalidArgument(`bench: expected files of images, received '${file}'`)
  })
}

const samples = path.join(packageRoot, 'models', 'samples')

/** Of a server's trials the network is not known here. */
async function serverTrials(options: BenchOptions, given: readonly string[]): Promise<Trial[]> {
  const { server, connections } = options
  const url = options.url ?? '/classify'
  if (server === undefined && !/^https?:\/\//.test(url)) {
    throw invalidArgument(
      `bench: expected an http(s) address in --url, received '${url}'; a path needs --server`,
    )
  }
  if (server !== undefined && !existsSync(server)) {
    throw invalidArgument(`bench: expected a Node.js program in --server, received '${server}'`)
  }
  const images = given.length > 0 ? [...given] : await imagesOf({ ...options, images: [samples] })
  const program = server === undefined ? {} : { server: path.resolve(server) }
  return connections.flatMap((count, i) =>
    loadsOf(options)
      // Nobody's connections bound what arrives at a given rate.
      .filter(({ kind }) => kind !== 'rate' || i === 0)
      .map(
        (load): Trial => ({
          network: { name: 'server', channels: 3, height: 0, width: 0 },
          device: 'http',
          dtype: '',
          batch: 1,
          threads: 0,
          load,
          images,
          http: { url, connections: count, ...program },
        }),
      ),
  )
}
