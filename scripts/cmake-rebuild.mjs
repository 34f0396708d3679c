#!/usr/bin/env node
// prebuildify knows only node-gyp, whose place this takes: called as `<this> rebuild --target=… --arch=… --release`,
// it makes build/Release/resnet.node from nothing with cmake-js. The target is of no matter to a Node-API addon.
import { availableParallelism } from 'node:os'
import { bin, must } from './setup.mjs'

const arch = process.argv.find((argument) => argument.startsWith('--arch='))?.slice('--arch='.length)
const jobs = String(availableParallelism())
must(
  'Building the native addon',
  bin('cmake-js'),
  ['rebuild', '--parallel', jobs, '--log-level', 'error', ...(arch ? ['--arch', arch] : [])],
  { env: { CMAKE_BUILD_PARALLEL_LEVEL: jobs } },
)
