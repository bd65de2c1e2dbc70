/** What random programs are made of: everything, and each group of extensions in greater numbers. */
import { EVEN_MIX, type Mix } from './random-program.ts'

export const MIXES: { readonly [name: string]: Mix } = {
  even: EVEN_MIX,
  'integer and compressed': {
    integer: 50,
    compressed: 30,
    floating: 0,
    memory: 10,
    atomic: 2,
    csr: 0,
    control: 8,
  },
  'floating point': { integer: 5, compressed: 3, floating: 80, memory: 4, atomic: 0, csr: 5, control: 3 },
  'memory and atomics': {
    integer: 10,
    compressed: 5,
    floating: 3,
    memory: 50,
    atomic: 25,
    csr: 0,
    control: 7,
  },
  'control flow': { integer: 25, compressed: 20, floating: 10, memory: 10, atomic: 3, csr: 2, control: 30 },
}
