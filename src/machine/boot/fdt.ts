/** A node of a device tree before it is flattened. */
export interface FdtNode {
  readonly name: string
  readonly properties: { readonly [name: string]: FdtValue }
  readonly children?: readonly FdtNode[]
}

/** Numbers are u32 cells; bigints are u64 (two cells); strings end in NUL; arrays concatenate; `true` is an empty property. */
export type FdtValue = number | bigint | string | true | Uint8Array | readonly (number | bigint | string)[]
