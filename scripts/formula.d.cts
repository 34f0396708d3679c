export interface Range {
  name: string
  shape: number[]
  lo: number
  hi: number
}
/** A tensor of the fixtures: samples of some images, and the maximum of |reference| over all. */
export interface FixtureTensor {
  name: string
  /** Per image: [C, H, W], or [D]. */
  shape: number[]
  images: number[]
  samples: number
  max: number
  expected: Float32Array
}
export interface NetworkFixture {
  name: string
  architecture: string | null
  block: 'basic' | 'bottleneck'
  depths?: number[]
  outputStride: number
  inChannels: number
  numClasses: number
  height: number
  width: number
  tensors: FixtureTensor[]
}
export interface OpFixture {
  name: string
  op: string
  x: { shape: number[]; lo: number; hi: number }
  options: Record<string, number | boolean | number[]>
  parameters: Range[]
  shape: number[]
  max: number
  expected: Float32Array
  /** topK only. */
  indices?: number[]
}

export const rule: { seed: number; bound: number }
export function formula(tensor: {
  seed: number
  name: string
  count: number
  lo: number
  hi: number
}): Float32Array
export function parameterRange(
  block: 'basic' | 'bottleneck',
  name: string,
  shape: readonly number[],
): [number, number]
export function formulaTensors(
  block: 'basic' | 'bottleneck',
  parameters: readonly { name: string; shape: readonly number[] }[],
): Range[]
export function inputImages(size: {
  images: number
  channels: number
  height: number
  width: number
}): Float32Array
export function samplePositions(total: number, count: number): number[]
export function networkFixtures(): {
  torch: string
  torchvision: string
  images: number
  rows: NetworkFixture[]
}
export function opFixtures(): { torch: string; torchvision: string; rows: OpFixture[] }
export function sampledError(tensor: FixtureTensor, data: ArrayLike<number>, batch: number): number
