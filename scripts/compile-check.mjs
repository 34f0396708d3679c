// What the assembler made of every kernel on every architecture, compared with cuda/kernels/resources.json: registers,
// spills, local and shared memory. It reads what building the CUDA backend left beside its objects (`npm run build:cuda`
// comes first). A kernel that begins to spill, takes clearly more registers, is new or is gone is a failure; where that is
// meant, `npm run compile-check -- --update` writes the list anew. First the comparison must catch faults made on purpose.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { buildDir, cudaToolchainOrExit } from './cuda-toolchain.mjs'
import { fail, root } from './setup.mjs'

const kernelsDir = path.join(root, 'cuda')
const listFile = path.join(root, 'cuda', 'kernels', 'resources.json')
const architectures = ['sm_75', 'sm_80', 'sm_86', 'sm_89', 'sm_90', 'sm_100', 'sm_120']
// The assembler hands out registers by eights; less than that is noise of an edit elsewhere.
const registerTolerance = 4

/** A kernel's name without namespaces and parameters: 'maxPoolKernel<__half, 8>'. */
function shortNames(mangled) {
  const child = spawnSync('c++filt', [], { input: mangled.join('\n'), encoding: 'utf8' })
  if (child.status !== 0)
    fail(`c++filt (of binutils) could not be run: ${child.error?.message ?? child.stderr}`)
  return child.stdout
    .trimEnd()
    .split('\n')
    .map((line) =>
      line
        .replace(/^void /, '')
        .replace(/(resnet|cuda|\(anonymous namespace\))::/g, '')
        .replace(/\((?!anonymous).*$/s, ''),
    )
}

/**
 * Reads the assembler's account: { kernel: { sm_80: { registers, localBytes, spillBytes, sharedBytes } } }. Two lines that
 * do not belong together are refused.
 */
function parse(text, file) {
  const rows = []
  let row
  for (const line of text.split('\n')) {
    const entry = /Compiling entry function '(\S+)' for '(\w+)'/.exec(line)
    if (entry) {
      if (row && row.registers === undefined) fail(`${file}: the account of ${row.mangled} has no registers.`)
      row = { mangled: entry[1], architecture: entry[2] }
      rows.push(row)
      continue
    }
    const properties = /Function properties for (\S+)/.exec(line)
    if (properties && row) row.within = properties[1] === row.mangled
    const memory = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line)
    if (memory && row?.within) {
      row.localBytes = Number(memory[1])
      row.spillBytes = Number(memory[2]) + Number(memory[3])
    }
    const used = /Used (\d+) registers/.exec(line)
    if (!used) continue
    if (!row || row.localBytes === undefined || row.registers !== undefined)
      fail(`${file}: cannot tell which kernel '${line.trim()}' is about.`)
    row.registers = Number(used[1])
    row.sharedBytes = Number(/(\d+) bytes smem/.exec(line)?.[1] ?? 0)
  }
  if (rows.length === 0) return {}
  const names = shortNames(rows.map(({ mangled }) => mangled))
  const kernels = {}
  rows.forEach(({ architecture, registers, localBytes, spillBytes, sharedBytes }, index) => {
    kernels[names[index]] ??= {}
    if (kernels[names[index]][architecture])
      fail(`${file}: '${names[index]}' occurs twice for ${architecture}.`)
    kernels[names[index]][architecture] = { registers, localBytes, spillBytes, sharedBytes }
  })
  return kernels
}

function filesBelow(folder, ending) {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith(ending))
    .map((name) => path.join(folder, name))
    .sort()
}

/** { 'kernels/pool.cu': { kernel: { architecture: {…} } } } of the last build. */
function measured() {
  const logs = filesBelow(path.join(buildDir, 'CMakeFiles', 'resnet_cuda.dir'), '.cu.o.ptxas')
  // The probe of scripts/gpu-check is a program of its own.
  const sources = filesBelow(kernelsDir, '.cu').filter(
    (file) => !file.startsWith(path.join(kernelsDir, 'probe', '/')),
  )
  const result = {}
  for (const source of sources) {
    const name = path.relative(kernelsDir, source)
    const log = logs.find((file) => file.endsWith(`${path.sep}${name}.o.ptxas`))
    if (!log) fail(`There is no account of cuda/${name}: run 'npm run build:cuda -- --force'.`)
    result[name] = parse(readFileSync(log, 'utf8'), name)
  }
  return result
}

/** One line per kernel for the committed list: what differs by architecture as a row in the order of `architectures`. */
function toList(files, compiler) {
  const compact = (byArchitecture) => {
    const row = (field) => architectures.map((name) => byArchitecture[name]?.[field] ?? null)
    const entry = { registers: row('registers'), sharedBytes: row('sharedBytes') }
    for (const field of ['localBytes', 'spillBytes'])
      if (row(field).some((value) => value > 0)) entry[field] = row(field)
    if (new Set(entry.sharedBytes).size === 1) entry.sharedBytes = entry.sharedBytes[0]
    return entry
  }
  const kernels = Object.fromEntries(
    Object.entries(files).map(([file, entries]) => [
      file,
      Object.fromEntries(
        Object.entries(entries)
          .sort()
          .map(([name, entry]) => [name, compact(entry)]),
      ),
    ]),
  )
  return { compiler, architectures, kernels }
}

/** The list as text, one line a kernel, so that a change reads as one. */
function format({ compiler, architectures, kernels }) {
  const files = Object.entries(kernels).map(([file, entries]) => {
    const lines = Object.entries(entries).map(
      ([name, entry]) => `      ${JSON.stringify(name)}: ${JSON.stringify(entry)}`,
    )
    return `    ${JSON.stringify(file)}: {\n${lines.join(',\n')}\n    }`
  })
  const head = `  "compiler": ${JSON.stringify(compiler)},\n  "architectures": ${JSON.stringify(architectures)}`
  return `{\n${head},\n  "kernels": {\n${files.join(',\n')}\n  }\n}\n`
}

/** What is worse, new or gone in `now` against `list`, as sentences; and how many kernels were compared. */
function compare(now, list) {
  const problems = []
  let compared = 0
  for (const file of new Set([...Object.keys(now.kernels), ...Object.keys(list.kernels)])) {
    const [built, listed] = [now.kernels[file] ?? {}, list.kernels[file] ?? {}]
    for (const name of new Set([...Object.keys(built), ...Object.keys(listed)])) {
      const what = `${file} ${name}`
      if (!listed[name]) problems.push(`${what}: not in the list`)
      else if (!built[name]) problems.push(`${what}: in the list, and not built`)
      else {
        compared += 1
        problems.push(...compareKernel(what, built[name], listed[name]))
      }
    }
  }
  return { problems, compared }
}

function compareKernel(what, built, listed) {
  const at = (entry, field, index) =>
    Array.isArray(entry[field]) ? entry[field][index] : (entry[field] ?? 0)
  return architectures.flatMap((architecture, index) => {
    if (at(built, 'registers', index) === null) return [`${what}: not built for ${architecture}`]
    const limits = { registers: registerTolerance, sharedBytes: 0, localBytes: 0, spillBytes: 0 }
    return Object.entries(limits)
      .map(([field, tolerance]) => [field, at(built, field, index), at(listed, field, index), tolerance])
      .filter(([, is, was, tolerance]) => is > was + tolerance)
      .map(([field, is, was]) => `${what}: ${field} on ${architecture} ${is}, listed ${was}`)
  })
}

/** Faults made on purpose; each must be reported, or the check proves nothing. */
function runControls(nvcc, now) {
  const changed = (change) => {
    const copy = structuredClone(now)
    change(copy.kernels)
    return copy
  }
  const [file] = Object.keys(now.kernels).filter((name) => Object.keys(now.kernels[name]).length > 0)
  const [name] = Object.keys(now.kernels[file])
  const spilling = compileSpilling(nvcc)
  const asIfLean = structuredClone(spilling)
  for (const entry of Object.values(asIfLean.kernels['spilling.cu'])) {
    delete entry.spillBytes
    delete entry.localBytes
  }
  const controls = [
    ['a kernel that spills', spilling, asIfLean, /spillBytes on sm_90/],
    [
      'eight more registers',
      now,
      changed((kernels) => {
        const { registers } = kernels[file][name]
        kernels[file][name].registers = registers.map((value) => value - 8)
      }),
      /registers on sm_75/,
    ],
    [
      'a kernel that the list lacks',
      now,
      changed((kernels) => delete kernels[file][name]),
      /not in the list/,
    ],
    ['a kernel that is gone', changed((kernels) => delete kernels[file][name]), now, /not built/],
    [
      'an architecture left out',
      changed((kernels) => {
        kernels[file][name].registers[2] = null
      }),
      now,
      /not built for sm_86/,
    ],
  ]
  for (const [what, is, listed, report] of controls) {
    const { problems } = compare(is, listed)
    if (!problems.some((problem) => report.test(problem)))
      fail(`Control: ${what} was not reported (${problems.join('; ') || 'nothing was'}).`)
    console.log(`ok  control: ${what} is reported`)
  }
  return controls.length
}

/** test/cuda/controls/spilling.cu through the same compiler and the same reader, for one architecture. */
function compileSpilling({ nvcc, include, version }) {
  const folder = mkdtempSync(path.join(tmpdir(), 'resnet-ptxas-'))
  try {
    const source = path.join(root, 'test', 'cuda', 'controls', 'spilling.cu')
    const targets = ['--generate-code=arch=compute_90,code=sm_90']
    const args = ['-O3', '-std=c++20', '-Xptxas=-v', '-I', include, ...targets]
    const child = spawnSync(nvcc, [...args, '-c', source, '-o', path.join(folder, 'spilling.o')], {
      encoding: 'utf8',
    })
    if (child.status !== 0) fail(`nvcc could not compile ${source}:\n${child.stderr}`)
    return toList({ 'spilling.cu': parse(child.stderr, 'spilling.cu') }, version)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const toolchain = cudaToolchainOrExit({ log: () => {} })
const now = toList(measured(), `nvcc ${toolchain.nvcc.version}`)
const count = Object.values(now.kernels).reduce((sum, entries) => sum + Object.keys(entries).length, 0)
if (process.argv.includes('--update')) {
  writeFileSync(listFile, format(now))
  console.log(`Wrote ${path.relative(root, listFile)}: ${count} kernels by ${now.compiler}.`)
}
const list = JSON.parse(readFileSync(listFile, 'utf8'))
let passed = runControls(toolchain.nvcc, now)
if (list.compiler !== now.compiler) {
  console.log(`skipped: CUDA kernels' resources (the list is of ${list.compiler}, this is ${now.compiler})`)
  console.log(`\n${passed} passed, 0 failed, 1 skipped`)
} else {
  const { problems, compared } = compare(now, list)
  for (const problem of problems) console.log(`FAILED ${problem}`)
  if (problems.length > 0) console.log("If that is meant: 'npm run compile-check -- --update'.")
  passed += compared - new Set(problems.map((problem) => problem.split(':')[0])).size
  console.log(
    `${compared} kernels on ${architectures.length} architectures compared with ${path.relative(root, listFile)}`,
  )
  console.log(`\n${passed} passed, ${problems.length} failed, 0 skipped`)
  process.exit(problems.length > 0 ? 1 : 0)
}
