import { readdir } from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import type { Binding, CpuInfo, DeviceInfo } from '../../binding.js'
import { jpegLibrary } from '../image/jpeg.js'
import { models } from '../models.js'
import { loadBinding } from '../native/load.js'
import { cudaBackend, fileOf } from '../native/plugin.js'
import { ResNet } from '../resnet.js'
import { packageRoot } from '../root.js'
import { asJson, type ExitCode, exitCode } from './exit.js'
import { print } from './output.js'
import { packageVersion } from './version.js'

interface SelfTest {
  ok: boolean
  images: number
  /** Digits that the embedded model names as their files do. */
  correct: number
  milliseconds: number
  error?: { code: string; message: string }
}

/** What there is of CUDA, and why it cannot be used when it cannot. */
interface Cuda {
  available: boolean
  /** '' when available. */
  reason: string
  /** Where the backend was looked for, and what was there. */
  tried: { path: string; outcome: string }[]
  /** Version of the backend's package, versions of driver, runtime and cuDNN; '' where not found. */
  backend: string
  driver: string
  runtime: string
  cudnn: string
  cudnnPath: string
  /** Version of the driver's management library; '' with the reason where it cannot be asked. */
  nvml: string
  nvmlReason: string
  devices: DeviceInfo[]
  /** On the first device, in float16. */
  selfTest?: SelfTest
}

const noCuda: Cuda = {
  available: false,
  reason: 'the addon is not loaded',
  tried: [],
  backend: '',
  driver: '',
  runtime: '',
  cudnn: '',
  cudnnPath: '',
  nvml: '',
  nvmlReason: '',
  devices: [],
}

interface Report {
  ok: boolean
  version: string
  node: string
  platform: string
  /** The C library, on Linux: 'glibc 2.36'. */
  libc?: string
  binary?: string
  cpu?: CpuInfo
  images: {
    sharp: string
    libvips: string
    /** What decodes JPEGs: the path of libturbojpeg; sharp, or nothing, and why. */
    jpeg: { decoder: 'libturbojpeg'; path: string } | { decoder: 'sharp' | 'none'; reason: string }
  }
  cuda: Cuda
  selfTest?: SelfTest
  problems: string[]
}

/** `resnet doctor`: what this machine and this installation offer, and whether they work. */
export async function doctor(options: { json?: boolean }): Promise<ExitCode> {
  const report = await examine()
  await print(options.json ? `${JSON.stringify(report)}\n` : text(report))
  return report.ok ? exitCode.ok : exitCode.someFailed
}

async function examine(): Promise<Report> {
  const report: Report = {
    ok: true,
    version: packageVersion,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    libc: cLibrary(),
    images: {
      sharp: sharp.versions.sharp ?? 'unknown',
      libvips: sharp.versions.vips,
      jpeg: { decoder: 'none', reason: 'no addon' },
    },
    cuda: noCuda,
    problems: [],
  }
  try {
    const binding = loadBinding()
    report.binary = fileOf(binding)
    report.cpu = binding.cpuInfo()
    report.problems.push(...cpuProblems(report.cpu))
    report.images.jpeg = jpegDecoder()
    if (report.images.jpeg.decoder === 'none') report.problems.push(report.images.jpeg.reason)
    report.selfTest = await testSelf('cpu')
    if (!report.selfTest.ok) report.problems.push(selfTestProblem('CPU', report.selfTest))
    report.cuda = await examineCuda(binding)
    report.problems.push(...cudaProblems(report.cuda))
  } catch (error) {
    report.problems.push(asJson(error).message)
  }
  report.ok = report.problems.length === 0
  return report
}

function jpegDecoder(): Report['images']['jpeg'] {
  try {
    const { path: file, reason } = jpegLibrary()
    return file === undefined ? { decoder: 'sharp', reason } : { decoder: 'libturbojpeg', path: file }
  } catch (error) {
    // The one that RESNET_TURBOJPEG names.
    return { decoder: 'none', reason: asJson(error).message }
  }
}

function cLibrary(): string | undefined {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } }
  if (header.glibcVersionRuntime !== undefined) return `glibc ${header.glibcVersionRuntime}`
  return process.platform === 'linux' ? 'not glibc' : undefined
}

async function examineCuda(binding: Binding): Promise<Cuda> {
  const { plugin, probe, reason, tried } = await cudaBackend(binding)
  const backend = plugin?.info.version ?? ''
  const found: Cuda = { ...noCuda, ...probe, backend, reason, tried, available: reason === '' }
  return found.available ? { ...found, selfTest: await testSelf('cuda') } : found
}

/**
 * A machine without a GPU is well. One with a backend that was asked for, or that is there together with a driver, and cannot
 * be used is not, nor is a GPU that computes wrongly.
 */
function cudaProblems({ reason, backend, driver, selfTest }: Cuda): string[] {
  const wish = process.env.RESNET_CUDA_PLUGIN
  if (reason !== '' && wish) return [`RESNET_CUDA_PLUGIN asks for '${wish}', which does not work: ${reason}`]
  if (reason !== '') return backend !== '' && driver !== '' ? [`CUDA cannot be used: ${reason}`] : []
  return selfTest === undefined || selfTest.ok ? [] : [selfTestProblem('CUDA', selfTest)]
}

function cpuProblems({ isa, tiers }: CpuInfo): string[] {
  if (isa !== undefined) return []
  const wanted = process.env.RESNET_ISA
  const reason = tiers.find((tier) => tier.isa === wanted)?.reason ?? 'there is no such tier'
  return [
    `RESNET_ISA asks for '${wanted}', which this CPU cannot run: ${reason}. Unset it or choose another tier.`,
  ]
}

/** The embedded model on its sample images, each named after the digit that it shows. */
async function testSelf(device: 'cpu' | 'cuda'): Promise<SelfTest> {
  const started = performance.now()
  const test: SelfTest = { ok: false, images: 0, correct: 0, milliseconds: 0 }
  try {
    const folder = path.join(packageRoot, 'models', 'samples')
    const files = (await readdir(folder)).filter((file) => file.endsWith('.png'))
    const model = await ResNet.load(models.digits, { device })
    try {
      const results = await model.classify(
        files.map((file) => path.join(folder, file)),
        { topK: 1 },
      )
      test.images = files.length
      test.correct = results.filter(
        ([best], i) => String(best?.index) === path.parse(files[i] ?? '').name,
      ).length
    } finally {
      await model.dispose()
    }
    test.ok = test.images > 0 && test.correct === test.images
  } catch (error) {
    test.error = asJson(error)
  }
  test.milliseconds = Math.round(performance.now() - started)
  return test
}

function selfTestProblem(where: string, { error, correct, images }: SelfTest): string {
  if (error !== undefined) return `The self-test on ${where} failed (${error.code}): ${error.message}`
  return `The self-test on ${where} recognised ${correct} of ${images} sample digits; expected all of them.`
}

function text(report: Report): string {
  const rows: [string, string][] = [
    ['resnet', report.version],
    ['Node.js', report.node],
    ['platform', [report.platform, report.libc].filter(Boolean).join(', ')],
    ['addon', report.binary ?? 'not loaded'],
    ...cpuRows(report.cpu),
    ['images', `sharp ${report.images.sharp}, libvips ${report.images.libvips}`],
    ['  JPEG', jpegText(report.images.jpeg)],
    ...selfTestRows(report.selfTest),
    ...cudaRows(report.cuda),
  ]
  const lines = rows.map(([name, value]) => `${name.padEnd(10)} ${value}\n`)
  const problems = report.problems.map((problem) => `  - ${problem}\n`)
  return `${lines.join('')}\n${report.ok ? 'All is well.\n' : `Something is wrong:\n${problems.join('')}`}`
}

function jpegText(jpeg: Report['images']['jpeg']): string {
  if (jpeg.decoder === 'libturbojpeg') return `decoded by ${jpeg.path}`
  return jpeg.decoder === 'sharp' ? `decoded by sharp: ${jpeg.reason}` : `not decoded: ${jpeg.reason}`
}

function cpuRows(cpu: CpuInfo | undefined): [string, string][] {
  if (cpu === undefined) return []
  const tiers = cpu.tiers.map(({ isa, supported, reason }): [string, string] => {
    const used = isa === cpu.isa ? ', used' : ''
    return [`  ${isa}`, `${supported ? 'yes' : 'no'}${used}${reason === '' ? '' : ` (${reason})`}`]
  })
  return [
    ['CPU', `${cpu.model}, L2 ${size(cpu.l2Bytes)}, L3 ${size(cpu.l3Bytes)}`],
    ...tiers,
    ['threads', `${cpu.threads} (${cpu.threadsFrom}), ${cpu.imageThreads} for images`],
  ]
}

function size(bytes: number): string {
  return bytes >= 1 << 20 ? `${Math.round(bytes / (1 << 20))} MiB` : `${Math.round(bytes / 1024)} KiB`
}

function selfTestRows(test: SelfTest | undefined): [string, string][] {
  if (test === undefined) return []
  const outcome = test.ok ? 'passed' : 'FAILED'
  return [
    ['self-test', `${outcome}: ${test.correct} of ${test.images} sample digits in ${test.milliseconds} ms`],
  ]
}

function cudaRows(cuda: Cuda): [string, string][] {
  const { backend, driver, runtime, cudnn, cudnnPath, nvml, nvmlReason, devices, selfTest } = cuda
  const rows: [string, string][] = [
    ['CUDA', cuda.available ? `yes, backend ${backend}` : `no: ${cuda.reason}`],
    ...cuda.tried.map(({ path: file, outcome }): [string, string] => ['  tried', `${file}: ${outcome}`]),
  ]
  if (backend === '') return rows
  rows.push(
    ['  driver', driver === '' ? 'not found' : `${driver}; runtime ${runtime}`],
    ['  cuDNN', cudnn === '' ? 'not found' : `${cudnn}, ${cudnnPath}`],
    ...devices.map((device): [string, string] => [`  cuda:${device.index}`, deviceText(device)]),
    ['  NVML', nvml === '' ? `not asked: ${nvmlReason}` : nvml],
    ...selfTestRows(selfTest).map(([name, value]): [string, string] => [`  ${name}`, value]),
  )
  return rows
}

function deviceText(device: DeviceInfo): string {
  const { name, capability, multiprocessors, memoryBytes, freeBytes, processBytes, mig } = device
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`
  const free = freeBytes > 0 ? `, ${gib(freeBytes)} free` : ''
  const own = processBytes > 0 ? `, ${size(processBytes)} of this process` : ''
  const slice = mig ? ', a MIG slice' : ''
  return `${name}, compute capability ${capability}, ${multiprocessors} SMs, ${gib(memoryBytes)}${free}${own}${slice}`
}
