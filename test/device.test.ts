// Devices behind a plugin, through the CPU backend built as one (test/native/plugin): what is found, chosen and refused,
// tensors on a device, and that nothing stays alive.
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { AnyTensor, ModelOptions } from '../lib/index.js'
import { ResNet, Tensor } from '../lib/index.js'
import { addon } from '../lib/native/call.js'
import { cudaBackend, placesFor, whyNone } from '../lib/native/plugin.js'
import { packageRoot } from '../lib/root.js'
import { eventually } from './support/eventually.js'
import { refusal } from './support/refusal.js'
import { safetensors } from './support/safetensors.js'
import { parameters, small } from './support/small-network.js'

const built = (name: string) => path.join(packageRoot, 'build', 'test-plugins', `lib${name}.so`)
const cpuPlugin = built('resnet_cpu_plugin')
const bytes = safetensors(parameters(small))
const values = Float32Array.from({ length: 3 * 3 * 9 * 7 }, (_, i) => Math.cos(i))
const x = Tensor.from(values, [3, 3, 9, 7])
const folder = mkdtempSync(path.join(tmpdir(), 'resnet-device-'))
afterAll(() => rmSync(folder, { recursive: true }))

function withPlugin(file: string | undefined) {
  if (file === undefined) delete process.env.RESNET_CUDA_PLUGIN
  else process.env.RESNET_CUDA_PLUGIN = file
}
const before = process.env.RESNET_CUDA_PLUGIN
beforeEach(() => withPlugin(cpuPlugin))
afterAll(() => withPlugin(before))

async function withModel<T>(options: ModelOptions, body: (model: ResNet) => Promise<T>): Promise<T> {
  const model = await ResNet.load(bytes, { threads: 1, ...options })
  try {
    return await body(model)
  } finally {
    await model.dispose()
  }
}
const logitsOn = (options: ModelOptions, input: AnyTensor = x) =>
  withModel(options, async (model) => [...(await model.forward(input)).data])

describe('choosing', () => {
  test('cuda gives the values of the CPU', async () => {
    expect(await logitsOn({ device: 'cuda', dtype: 'float32' })).toEqual(await logitsOn({ device: 'cpu' }))
  })

  test('cuda is the first device, with float16 unless asked', async () => {
    await withModel({ device: 'cuda' }, async (model) => {
      expect(model.device).toBe('cuda:0')
      expect(model.dtype).toBe('float16')
      expect(model.explainDevice()).toMatchObject({ name: 'Test device', isa: 'sm_90', threads: 0 })
      expect((await model.forward(x)).dtype).toBe('float32')
      expect(model.explainDevice().ceilings).toEqual({
        bytesPerSecond: 1e12,
        float16: 2e12,
        bfloat16: 3e12,
        tf32: 4e12,
        float32: 5e12,
        source: "a test's",
      })
      expect(model.stats().memory.device).toMatchObject({ process: 77, processReason: 'counted' })
      for (const { workspaceBytes, share } of await model.explain({ height: 9, width: 7 }))
        expect([workspaceBytes, share]).toEqual([0, 0])
    })
    await withModel({ device: 'cuda:1', dtype: 'bfloat16' }, async (model) => {
      expect([model.device, model.dtype]).toEqual(['cuda:1', 'bfloat16'])
      expect(model.explainDevice().considered[0]?.reason).toMatch(/MIG/)
    })
  })

  test('auto takes the device that works and says why', async () => {
    await withModel({}, async (model) => {
      expect([model.device, model.dtype]).toEqual(['cuda:0', 'float16'])
      expect(model.explainDevice().considered).toEqual([
        { device: 'cuda:0', chosen: true, reason: 'the first that works; Test device, 1 GiB' },
      ])
    })
  })

  test('auto takes the CPU where the device does not work, and keeps the reason', async () => {
    withPlugin(built('resnet_foreign_plugin_1'))
    await withModel({}, async (model) => {
      expect([model.device, model.dtype]).toEqual(['cpu', 'float32'])
      const [cuda, cpu] = model.explainDevice().considered
      expect(cuda).toMatchObject({ device: 'cuda', chosen: false })
      expect(cuda?.reason).toMatch(/it speaks version \d+ of the plugin interface \(package 9\.9\.9\)/)
      expect(cpu).toMatchObject({ device: 'cpu', chosen: true })
    })
  })

  test.each([
    [
      'another version',
      built('resnet_foreign_plugin_1'),
      /speaks version \d+ .* install the plugin of the same/,
    ],
    ['a short table', built('resnet_foreign_plugin_2'), /its table has 64 bytes/],
    ['no table', built('resnet_foreign_plugin_3'), /gives no table/],
    ['a library that is no plugin', built('resnet_foreign_plugin_4'), /it is no plugin of resnet/],
    ['a file that is no library', path.join(packageRoot, 'package.json'), /package\.json/],
    ['nothing', '/nonexistent/libresnet_cuda.so', /No such file/],
  ])('a device asked for by name is refused with the reason: %s', async (_, file, reason) => {
    withPlugin(file)
    const { code, message } = await refusal(() => ResNet.load(bytes, { device: 'cuda' }))
    expect(code).toBe('ERR_RESNET_UNAVAILABLE')
    expect(message).toMatch(/^device: 'cuda' cannot be used; /)
    expect(message).toMatch(reason)
  })

  test('a device that is not there is refused with those that are', async () => {
    const { code, message } = await refusal(() => ResNet.load(bytes, { device: 'cuda:7' }))
    expect(code).toBe('ERR_RESNET_UNAVAILABLE')
    expect(message).toMatch(/there is no device 'cuda:7'; this machine has cuda:0 \(Test device\), cuda:1/)
  })

  test.each<[ModelOptions, string, RegExp]>([
    [{ device: 'cuda', dtype: 'int8' }, 'ERR_RESNET_UNSUPPORTED', /dtype: .* received 'int8'/],
    [{ device: 'cpu', dtype: 'float16' }, 'ERR_RESNET_UNSUPPORTED', /computes in float32 only/],
    [{ device: 'cpu', memoryLimit: 1e9 }, 'ERR_RESNET_UNSUPPORTED', /memoryLimit/],
    [{ device: 'cpu', float32Precision: 'tf32' }, 'ERR_RESNET_UNSUPPORTED', /tf32/],
    [{ memoryLimit: -1 }, 'ERR_RESNET_INVALID_ARGUMENT', /memoryLimit to be an integer/],
    [
      { preprocessOn: 'gpu' as never },
      'ERR_RESNET_INVALID_ARGUMENT',
      /preprocessOn to be 'host' or 'device'/,
    ],
    [{ autotune: 'slow' as never }, 'ERR_RESNET_INVALID_ARGUMENT', /autotune to be 'off', 'quick' or 'full'/],
    [{ graphs: 1 as never }, 'ERR_RESNET_INVALID_ARGUMENT', /graphs to be true or false/],
    [{ tracks: 3 as never }, 'ERR_RESNET_INVALID_ARGUMENT', /tracks to be 1, 2 or 'auto'/],
    [{ tileOrder: 'back' as never }, 'ERR_RESNET_INVALID_ARGUMENT', /tileOrder to be 'auto', 'forward' or/],
    [{ engineCache: '' }, 'ERR_RESNET_INVALID_ARGUMENT', /engineCache to be the path of a folder, or false/],
    [
      { device: 'gpu' as never },
      'ERR_RESNET_INVALID_ARGUMENT',
      /device to be 'auto', 'cpu', 'cuda' or 'cuda:N'/,
    ],
  ])('refuses %j', async (options, code, message) => {
    const error = await refusal(() => ResNet.load(bytes, options))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(message)
  })

  test('a device that does not resize says so', async () => {
    const error = await refusal(() =>
      withModel({ device: 'cuda', preprocessOn: 'device' }, (model) =>
        model.embed({ data: new Uint8Array(9 * 7 * 3), width: 7, height: 9, channels: 3 }),
      ),
    )
    expect(error.code).toBe('ERR_RESNET_UNSUPPORTED')
    expect(error.message).toMatch(/no CPU implementation takes this input step/)
  })

  test('takes every option of a device', async () => {
    const options = {
      device: 'cuda',
      dtype: 'float32',
      memoryLimit: 2 ** 20,
      workspaceLimit: 2 ** 20,
      deterministic: true,
      autotune: 'off',
      graphs: false,
      tracks: 2,
      tileOrder: 'alternate',
      engineCache: false,
      float32Precision: 'tf32',
      lanes: 'throughput',
    } as const
    expect(await logitsOn(options)).toEqual(await logitsOn({ device: 'cpu' }))
  })

  test('finds the package where npm puts it', () => {
    const installed = path.join(folder, 'node_modules', 'resnet-cuda-linux-x64')
    const root = path.join(folder, 'node_modules', 'resnet')
    mkdirSync(installed, { recursive: true })
    mkdirSync(root)
    const exported = {
      name: 'resnet-cuda-linux-x64',
      version: '1.0.0',
      exports: { './libresnet_cuda.so': './lib/libresnet_cuda.so' },
    }
    mkdirSync(path.join(installed, 'lib'))
    writeFileSync(path.join(installed, 'package.json'), JSON.stringify(exported))
    writeFileSync(path.join(installed, 'lib', 'libresnet_cuda.so'), '')
    expect(realpathSync(placesFor(addon(), root).at(-1) as string)).toBe(
      realpathSync(path.join(installed, 'lib', 'libresnet_cuda.so')),
    )
    // Where it is not, the place where it would be.
    const elsewhere = path.join(path.dirname(folder), 'resnet-elsewhere', 'resnet')
    expect(placesFor(addon(), elsewhere).at(-1)).toBe(
      path.join(elsewhere, '..', 'resnet-cuda-linux-x64', 'libresnet_cuda.so'),
    )
  })

  test('names the one command where a driver waits for the package', () => {
    expect(whyNone('1.2.3', '/dev/nvidiactl')).toMatch(/npm install resnet-cuda-linux-x64@1\.2\.3$/)
    expect(whyNone('1.2.3', '')).toMatch(/^no NVIDIA driver on this machine/)
  })

  test('looks beside the addon, then for the package, and names both', async () => {
    withPlugin(undefined)
    const { tried, reason, plugin } = await cudaBackend(addon())
    const places = tried.map((place) => place.path)
    expect(places[0]).toBe(path.join(packageRoot, 'build', 'Release', 'libresnet_cuda.so'))
    if (plugin === undefined && tried.every(({ outcome }) => outcome === 'not there')) {
      expect(places[1]).toMatch(/resnet-cuda-linux-x64\/libresnet_cuda\.so$/)
      expect(reason).toMatch(/resnet-cuda-linux-x64/)
    }
  })
})

describe('tensors on a device', () => {
  test.each([
    ['float32', values, [3, 3, 9, 7]],
    ['uint8', new Uint8Array([1, 2, 255, 4]), [4]],
    ['int32', new Int32Array([-1, 2 ** 31 - 1]), [1, 2]],
    ['float16', new Uint16Array([0x3c00, 0xfc00, 1]), [3]],
  ] as const)('go there and back: %s', async (dtype, data, shape) => {
    const there = await Tensor.from(data, shape, { dtype }).to('cuda')
    expect(there).toMatchObject({ device: 'cuda:0', dtype, size: data.length, shape })
    expect(there.devicePointer).toBeGreaterThan(0n)
    const back = await there.to('cpu')
    expect(back.device).toBe('cpu')
    expect([...back.data]).toEqual([...data])
    there.dispose()
  })

  test('stay where they are when they are there, and move between devices', async () => {
    using first = await x.to('cuda')
    expect(await first.to('cuda')).toBe(first)
    expect(await first.to('cuda:0')).toBe(first)
    expect(await x.to('cpu')).toBe(x)
    using second = await first.to('cuda:1')
    expect(second.device).toBe('cuda:1')
    expect([...(await second.to('cpu')).data]).toEqual([...values])
  })

  test('have no data in the host, and none after dispose', async () => {
    const there = await x.to('cuda')
    // As who has no types may try.
    const untyped = (tensor: AnyTensor) => tensor as unknown as { data: unknown; devicePointer: unknown }
    expect((await refusal(() => untyped(there).data)).message).toMatch(
      /received one on cuda:0; await tensor\.to\('cpu'\)/,
    )
    expect((await refusal(() => untyped(x).devicePointer)).code).toBe('ERR_RESNET_UNSUPPORTED')
    there.dispose()
    there.dispose()
    expect((await refusal(() => there.to('cpu'))).code).toBe('ERR_RESNET_DISPOSED')
    expect((await refusal(() => there.to('cuda:1'))).code).toBe('ERR_RESNET_DISPOSED')
    expect((await refusal(() => there.devicePointer)).code).toBe('ERR_RESNET_DISPOSED')
    x.dispose()
    expect(x.data).toBe(values === x.data ? values : x.data)
  })

  test('go into networks on that device, whole batches and their tails', async () => {
    const expected = await logitsOn({ device: 'cpu' })
    using there = await x.to('cuda')
    expect(await logitsOn({ device: 'cuda', dtype: 'float32', maxBatch: 2 }, there)).toEqual(expected)
  })

  test('of bytes are normalised on the device', async () => {
    const pixels = Tensor.from(
      Uint8Array.from({ length: 9 * 7 * 3 }, (_, i) => i),
      [1, 3, 9, 7],
      { layout: 'nhwc' },
    )
    using there = await pixels.to('cuda')
    const options = { device: 'cuda', dtype: 'float32' } as const
    expect(await logitsOn(options, there)).toEqual(await logitsOn({ device: 'cpu' }, pixels))
  })

  test('of half precision go into networks as they are', async () => {
    // 0.5, -1.5 and 3: exact in both.
    const bits = { float16: [0x3800, 0xbe00, 0x4200], bfloat16: [0x3f00, 0xbfc0, 0x4040] } as const
    for (const dtype of ['float16', 'bfloat16'] as const) {
      const data = Uint16Array.from({ length: 3 * 9 * 7 }, (_, i) => bits[dtype][i % 3] as number)
      const half = Tensor.from(data, [1, 3, 9, 7], { dtype })
      const expected = await logitsOn({ device: 'cpu' }, half.toFloat32())
      expect(await logitsOn({ device: 'cpu' }, half)).toEqual(expected)
      using there = await half.to('cuda')
      expect(await logitsOn({ device: 'cuda', dtype: 'float32' }, there)).toEqual(expected)
    }
  })

  test('are refused by networks elsewhere', async () => {
    using there = await x.to('cuda')
    const other = await refusal(() => logitsOn({ device: 'cuda:1' }, there))
    expect(other.message).toMatch(/expected a tensor on the CPU or on cuda:1, received one on cuda:0/)
    expect((await refusal(() => logitsOn({ device: 'cpu' }, there))).code).toBe('ERR_RESNET_INVALID_ARGUMENT')
  })

  test('are what calls leave there when asked', async () => {
    await withModel({ device: 'cuda', dtype: 'float32', maxBatch: 2 }, async (model) => {
      using logits = await model.forward(x, { output: 'device' })
      expect(logits).toMatchObject({ device: 'cuda:0', dtype: 'float32', shape: [3, 3] })
      expect([...(await logits.to('cpu')).data]).toEqual([...(await model.forward(x)).data])
      using pooled = await model.embed(x, { output: 'device' })
      expect([...(await pooled.to('cpu')).data]).toEqual([...(await model.embed(x)).data])
      const { stem, layer1 } = await model.features(x, ['stem', 'layer1'], { output: 'device' })
      const host = await model.features(x, ['stem', 'layer1'])
      expect([...(await stem.to('cpu')).data]).toEqual([...host.stem.data])
      expect([...(await layer1.to('cpu')).data]).toEqual([...host.layer1.data])
      stem.dispose()
      layer1.dispose()
    })
  })

  test('on the CPU stay in the host', async () => {
    await withModel({ device: 'cpu' }, async (model) => {
      expect((await model.forward(x, { output: 'device' })).device).toBe('cpu')
    })
  })

  test('beyond the cap are refused, and the model runs on', async () => {
    await withModel({ device: 'cuda', dtype: 'float32', memoryLimit: 100 }, async (model) => {
      using logits = await model.forward(x, { output: 'device' })
      const { code, message } = await refusal(() => model.features(x, ['stem'], { output: 'device' }))
      expect(code).toBe('ERR_RESNET_OUT_OF_MEMORY')
      expect(message).toMatch(/the device has 100 bytes/)
      expect([...(await logits.to('cpu')).data]).toEqual([...(await model.forward(x)).data])
    })
  })

  test('to a device that is not there are refused', async () => {
    const error = await refusal(() => x.to('cuda:9'))
    expect(error.code).toBe('ERR_RESNET_UNAVAILABLE')
    expect(error.message).toMatch(/^Tensor\.to: 'cuda:9' cannot be used; /)
    expect((await refusal(() => x.to('tpu' as never))).code).toBe('ERR_RESNET_INVALID_ARGUMENT')
  })
})

describe('lifetimes', () => {
  // disposing of a tensor does not wait until it is freed
  jest.setTimeout(90_000)

  test('nothing of a model or of tensors stays alive', async () => {
    const { plugin } = await cudaBackend(addon())
    if (plugin === undefined) throw new Error('the plugin of the tests is not there')
    const counts = () => {
      const { devices, deviceMemories, programs, lanes, weights } = addon().counters()
      return { addon: { devices, deviceMemories, programs, lanes, weights }, plugin: plugin.liveCounts() }
    }
    // Of what went before, the two devices that tensors were sent to.
    const nothing = { backends: 2, weights: 0, programs: 0, lanes: 0, buffers: 0, submissions: 0 }
    expect(await eventually(() => counts().plugin, nothing)).toEqual(nothing)
    const begun = counts()
    await withModel({ device: 'cuda', memoryLimit: 12345 }, async (model) => {
      using _ = await model.forward(x, { output: 'device' })
      using __ = await x.to('cuda')
      expect(counts().addon.devices).toBe(begun.addon.devices + 1)
      expect(counts().addon.deviceMemories).toBe(begun.addon.deviceMemories + 2)
      expect(counts().plugin).toMatchObject({
        backends: nothing.backends + 1,
        programs: 1,
        lanes: 1,
        weights: 1,
        buffers: 2,
      })
    })
    // The model's own is freed by now; tensors are let go of without waiting.
    const { programs, lanes, weights } = begun.addon
    expect(counts().addon).toMatchObject({ programs, lanes, weights })
    expect(counts().plugin).toMatchObject({ programs: 0, lanes: 0, weights: 0 })
    expect(await eventually(counts, begun)).toEqual(begun)
  })

  test('a tensor that is disposed of in a run lives until it ends', async () => {
    await withModel({ device: 'cuda', dtype: 'float32' }, async (model) => {
      const there = await x.to('cuda')
      const running = model.forward(there)
      setImmediate(() => there.dispose())
      expect([...(await running).data]).toEqual(await logitsOn({ device: 'cpu' }))
    })
  })

  test('a call that is aborted leaves no memory on the device', async () => {
    await withModel({ device: 'cuda' }, async (model) => {
      await model.forward(x)
      const { plugin } = await cudaBackend(addon())
      const memories = () => plugin?.liveCounts().buffers
      // What tests before this one let go of may be on its way still: a count taken at once would be too high.
      expect(await eventually(memories, 0)).toBe(0)
      const abort = new AbortController()
      const call = model.forward(x, { output: 'device', signal: abort.signal })
      setImmediate(() => abort.abort(new Error('enough')))
      const result = await call.catch((error) => error)
      if (result instanceof Tensor) result.dispose()
      else expect(result.message).toBe('enough')
      expect(await eventually(memories, 0)).toBe(0)
    })
  })
})

test('a library given by name alone is looked for in the working folder', async () => {
  const file = path.join(folder, 'libcopy.so')
  writeFileSync(file, 'not a library')
  withPlugin(path.relative(process.cwd(), file))
  expect((await refusal(() => ResNet.load(bytes, { device: 'cuda' }))).message).toMatch(/libcopy\.so/)
})
