// binding.d.ts against the addon that was built: names, kinds and fields.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { Binding } from '../../binding.js'
import { errorCodes } from '../../lib/errors.js'
import { loadBinding } from '../../lib/native/load.js'
import { packageRoot } from '../../lib/root.js'

const { compile, formulaWeights, scaleTwice, safetensors } = require('./plans.cjs')

const declarations = readFileSync(path.join(packageRoot, 'binding.d.ts'), 'utf8')
const binding: Binding = loadBinding()

/** Member names of an interface, in three kinds. */
function membersOf(name: string) {
  const body = new RegExp(`export interface ${name} (?:extends \\w+ )?\\{\\n([\\s\\S]*?)\\n\\}`).exec(
    declarations,
  )?.[1]
  if (body === undefined) throw new Error(`binding.d.ts declares no interface ${name}`)
  const members = [...body.matchAll(/^ {2}(?:readonly )?(\w+)(\??)(\(|:)/gm)]
  const named = (test: (optional: string, mark: string) => boolean) =>
    members.filter((m) => test(m[2] ?? '', m[3] ?? '')).map((m) => m[1] as string)
  return {
    methods: named((_, mark) => mark === '('),
    fields: named((optional, mark) => mark === ':' && optional === ''),
    optional: named((optional) => optional === '?'),
  }
}

const methodsOf = (object: object) =>
  Object.getOwnPropertyNames(Object.getPrototypeOf(object)).filter((name) => name !== 'constructor')

const sorted = (names: Iterable<string>) => [...names].sort()

function expectFields(object: object, interfaceName: string) {
  const { fields, optional } = membersOf(interfaceName)
  const found = Object.keys(object)
  expect(sorted(found.filter((name) => !optional.includes(name)))).toEqual(sorted(fields))
}

test('exports exactly what Binding declares', () => {
  const { methods, fields } = membersOf('Binding')
  expect(methods.length).toBeGreaterThan(5)
  expect(sorted(Object.keys(binding))).toEqual(sorted([...methods, ...fields]))
  for (const name of methods) expect(typeof binding[name as keyof Binding]).toBe('function')
})

test('tells its version and the table of codes', () => {
  const manifest = JSON.parse(readFileSync(path.join(packageRoot, 'package.json'), 'utf8'))
  expect(binding.version).toBe(manifest.version)
  expect(binding.errorCodes).toEqual([...errorCodes])
})

const cpuPlugin = path.join(packageRoot, 'build', 'test-plugins', 'libresnet_cpu_plugin.so')

async function deviceHandles() {
  const plugin = await binding.openPlugin({ path: cpuPlugin })
  const device = await plugin.openDevice({ index: 0, memoryLimit: 0 })
  return { Plugin: plugin, Device: device, DeviceMemory: await device.allocate({ bytes: 8 }) }
}

test('handles have exactly the declared methods', async () => {
  const weights = formulaWeights(binding, scaleTwice)
  const program = await compile(binding, scaleTwice, weights)
  const lane = await program.createLane()
  const { checkpoint } = await binding.openCheckpoint({ bytes: safetensors([]) })
  const handles = {
    Control: binding.createControl(),
    Checkpoint: checkpoint,
    Weights: weights,
    Program: program,
    Lane: lane,
    ...(await deviceHandles()),
  }
  for (const [name, handle] of Object.entries(handles)) {
    expect([name, sorted(methodsOf(handle))]).toEqual([name, sorted(membersOf(name).methods)])
  }
  await lane.dispose()
})

test('plain objects have exactly the declared fields', async () => {
  const program = await compile(binding, scaleTwice, formulaWeights(binding, scaleTwice))
  expectFields(program.info, 'ProgramInfo')
  for (const row of program.explain()) expectFields(row, 'ExplainRow')
  expectFields(binding.cpuInfo(), 'CpuInfo')
  expectFields(binding.counters(), 'Counters')
  const listing = await binding.openCheckpoint({
    bytes: safetensors([{ name: 'a', shape: [2], data: new Float32Array(2) }]),
  })
  expectFields(listing, 'CheckpointListing')
  for (const tensor of listing.tensors) expectFields(tensor, 'TensorEntry')
})

test('what devices tell has exactly the declared fields', async () => {
  const { Plugin: plugin, Device: device, DeviceMemory: memory } = await deviceHandles()
  expectFields(plugin.info, 'PluginInfo')
  expectFields(plugin.liveCounts(), 'PluginCounts')
  expectFields(device.memory(), 'DeviceMemoryUse')
  expectFields(memory.info, 'DeviceMemoryInfo')
  const probe = await plugin.probe()
  expectFields(probe, 'Probe')
  for (const entry of probe.devices) expectFields(entry, 'DeviceInfo')
})

test('a method called on anything but its own kind is an error', async () => {
  const weights = formulaWeights(binding, scaleTwice)
  const program = await compile(binding, scaleTwice, weights)
  const control = binding.createControl()
  const { cancel } = control
  for (const receiver of [weights, {}, undefined, 1, null, Object.create(control), new Proxy(control, {})]) {
    expect(() => cancel.call(receiver as typeof control)).toThrow(
      /Illegal invocation|must be called on a Control/,
    )
  }
  // V8 lets an object through that the kind's own constructor made, and its heirs; there is nothing in it.
  const made = <T extends object>(handle: T) => Reflect.construct(handle.constructor, []) as T
  expect(() => made(control).cancel()).toThrow(/must be called on a Control/)
  await expect(made(program).createLane()).rejects.toThrow(/must be called on a Program/)
  expect(() => binding.weightsFromCheckpoint({ checkpoint: made(weights) as never, names: {} })).toThrow(
    /must be a Checkpoint/,
  )
})
