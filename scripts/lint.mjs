// Every check of form, for both languages: Biome (TypeScript and JavaScript), clang-format (C++), the type checker.
// `--fix` writes what can be written, then checks the rest.
import { spawnSync } from 'node:child_process'
import { bin, ensureDependencies, fail, root, run } from './setup.mjs'

const fix = process.argv.includes('--fix')

/** Files of the checkout that git knows or would add, so that build outputs need no list of their own. */
function checkoutFiles(pattern) {
  const git = spawnSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--deduplicate'],
    {
      cwd: root,
      encoding: 'utf8',
    },
  )
  if (git.status !== 0) fail('npm run lint needs git and a checkout: it checks the files that git knows.')
  const deleted = spawnSync('git', ['ls-files', '-z', '--deleted'], {
    cwd: root,
    encoding: 'utf8',
  }).stdout.split('\0')
  return git.stdout.split('\0').filter((file) => pattern.test(file) && !deleted.includes(file))
}

ensureDependencies()
const cpp = checkoutFiles(/\.(cc|h|cu|cuh)$/)
const checks = [
  ['biome', bin('biome'), ['check', ...(fix ? ['--write'] : []), '--error-on-warnings', '.']],
  [
    'clang-format',
    bin('clang-format'),
    [...(fix ? ['-i'] : ['--dry-run', '--Werror', '--ferror-limit=3']), ...cpp],
  ],
  ['tsc', bin('tsc'), ['-p', 'tsconfig.json', '--noEmit']],
]
const failed = checks.filter(([name, command, args]) => {
  if (name === 'clang-format' && cpp.length === 0) return false
  const status = run(command, args)
  console.log(`${status === 0 ? 'ok    ' : 'failed'} ${name}`)
  return status !== 0
})
if (failed.length > 0) {
  console.error(
    `\n${failed.map(([name]) => name).join(', ')}: see above. 'npm run format' repairs formatting.`,
  )
  process.exit(1)
}
