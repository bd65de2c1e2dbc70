import { UnderstudyError } from '../errors.ts'

/** Everything that can go wrong with a guest image, with what the reader can do about it. Codes are stable. */
const NEXT = {
  IMAGE_TREE_INVALID: 'Correct the recipe of this image.',
} as const

export type ImageErrorCode = keyof typeof NEXT

export class ImageError extends UnderstudyError {
  declare readonly code: ImageErrorCode

  constructor(code: ImageErrorCode, message: string, options?: ErrorOptions & { readonly next?: string }) {
    super(code, message, options?.next ?? NEXT[code], options)
  }
}
