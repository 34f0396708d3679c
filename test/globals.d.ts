// jest puts these on the global object; its own package gives their types.
import type * as jestGlobals from '@jest/globals'

declare global {
  const afterAll: typeof jestGlobals.afterAll
  const afterEach: typeof jestGlobals.afterEach
  const beforeAll: typeof jestGlobals.beforeAll
  const beforeEach: typeof jestGlobals.beforeEach
  const describe: typeof jestGlobals.describe
  const expect: typeof jestGlobals.expect
  const it: typeof jestGlobals.it
  const jest: typeof jestGlobals.jest
  const test: typeof jestGlobals.test
}
