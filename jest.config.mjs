export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  transform: { '\\.m?ts$': '@swc/jest' },
  // Sources import their siblings as './x.js', the name that they have once compiled.
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  moduleFileExtensions: ['ts', 'mts', 'js', 'mjs', 'cjs', 'json', 'node'],
  globalSetup: '<rootDir>/test/support/native-plugins.mjs',
  testTimeout: 60_000,
  // Every worker loads the addon with its own thread pool: more of them than this only share the cores.
  maxWorkers: 2,
}
