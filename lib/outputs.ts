import { invalidArgument } from './errors.js'
import { indicesOf } from './graph/graph.js'
import { maxElements } from './tensor.js'

/** [H, W, C] of one image. */
export type Shape = readonly [number, number, number]

interface OutputRequest {
  /** What messages begin with: 'conv2d'. */
  method: string
  /** Name of the node that gives it; the indices of a topK are int32. */
  node: string | undefined
  images: number
  shape: Shape
  /** What made it as large as it is: 'options'. */
  given: string
}

/**
 * Elements of one output of all images of a call.
 * @throws ERR_RESNET_INVALID_ARGUMENT for more than a tensor has.
 */
export function elementsOfOutput({ method, images, shape: [h, w, c], given }: OutputRequest): number {
  const elements = images * h * w * c
  if (elements < maxElements) return elements
  throw invalidArgument(
    `${method}: expected an output of fewer than 2^31 elements, received ${given} that give [${images}, ${c}, ${h}, ${w}]`,
  )
}

/** Memory for it in the host. @throws As `elementsOfOutput`. */
export function allocateOutput(request: OutputRequest): Float32Array | Int32Array {
  const elements = elementsOfOutput(request)
  return request.node?.endsWith(indicesOf('')) ? new Int32Array(elements) : new Float32Array(elements)
}
