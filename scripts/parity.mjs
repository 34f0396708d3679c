// npm run parity [-- --only <regexp> --isa avx512,avx2 --threads n --json]
//
// Every network of the fixtures against PyTorch's float32, on each ISA tier of this machine: logits at batches 1, 3 and
// 8, embeddings, every stage's features. The portable tier is slow by design: one small size of each kind of block.
// With --mutation <name>, a network spoilt on purpose (parity-mutations.mjs), which the bound must refuse.
// Errors are max|ours - reference| / max|reference|.
import { parseArgs } from 'node:util'
import { networkFixtures, rule } from './formula.cjs'
import { mutations } from './parity-mutations.mjs'
import { ensureBuilt } from './setup.mjs'

const portable = /^(resnet18|resnext50_32x4d) 64x160$|^resnet20|^bottleneck/
/** A line of the table per network and tier; the worst of all stages stands for the features. */
const columns = [
  ['logits, batch 1', (row) => row.output === 'logits' && row.batch === 1],
  ['batch 3', (row) => row.output === 'logits' && row.batch === 3],
  ['batch 8', (row) => row.output === 'logits' && row.batch === 8],
  ['embedding, 3', (row) => row.output === 'embedding'],
  ['features, 8', (row) => row.output !== 'logits' && row.output !== 'embedding'],
]

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    isa: { type: 'string' },
    threads: { type: 'string', default: '0' },
    mutation: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})

// Tests have built everything; a person need not have.
if (!options.json) ensureBuilt()
const { binding, checkByApi, checkByPlan } = await import('./parity-network.mjs')

// NaN is no good error, and Math.max keeps it.
const isGood = ({ error }) => error <= rule.bound
const worst = (rows) => rows.reduce((most, { error }) => Math.max(most, error), 0)
const line = (name, tier, cells) =>
  [name.padEnd(30), tier.padEnd(8), ...cells.map((cell) => cell.padStart(15))].join(' ')

function print(rows) {
  const [{ network, isa }] = rows
  const cells = columns.map(([, belongs]) => {
    const own = rows.filter(belongs)
    return own.length === 0 ? '-' : worst(own).toExponential(1)
  })
  console.log(line(network, isa, [...cells, rows.every(isGood) ? 'ok' : 'FAILED']))
}

const info = binding.cpuInfo()
const supported = info.tiers.filter((tier) => tier.supported).map(({ isa }) => isa)
const tiers = options.isa?.split(',') ?? supported
const threads = Number(options.threads)
const mutation = options.mutation === undefined ? undefined : mutations[options.mutation]
if (options.mutation !== undefined && mutation === undefined) {
  console.error(
    `expected --mutation to be one of ${Object.keys(mutations).join(', ')}, received ${options.mutation}`,
  )
  process.exit(2)
}
const { rows: fixtures, torch } = networkFixtures()
const chosen = fixtures.filter(({ name }) => new RegExp(options.only).test(name))
if (!options.json) {
  console.log(`Against PyTorch ${torch} float32, on ${info.model}, tiers ${tiers.join(', ')}.`)
  console.log(`max|ours - PyTorch's| / max|PyTorch's|, bound ${rule.bound}\n`)
  console.log(line('network and size', 'tier', [...columns.map(([title]) => title), 'within bound']))
}
const all = []
for (const fixture of chosen) {
  for (const isa of tiers) {
    if (isa === 'portable' && !portable.test(fixture.name)) continue
    const check = mutation === undefined ? checkByApi : checkByPlan
    const rows = await check(fixture, { isa, threads, mutation })
    if (options.json) for (const row of rows) console.log(JSON.stringify({ ...row, good: isGood(row) }))
    else print(rows)
    all.push(...rows)
  }
}
const good = all.filter(isGood).length
if (!options.json)
  console.log(`\n${good} of ${all.length} within ${rule.bound}, the worst ${worst(all).toExponential(1)}`)
process.exitCode = all.length > 0 && good === all.length ? 0 : 1
