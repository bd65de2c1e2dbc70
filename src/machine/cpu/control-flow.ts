/**
 * Turns a graph of blocks into nested blocks and loops, as WebAssembly needs them, by walking its dominator tree
 * (the method of Ramsey, "Beyond Relooper", 2022).
 *
 * Edges into the middle of a loop, which no nesting can express, are cut: they leave the region.
 */
export interface FlowGraph {
  /** Successors of each node by index; node 0 is the entry. */
  readonly successors: readonly (readonly number[])[]
  /** Nodes that must be reachable by a label of their own, as the targets of a table are. */
  readonly labelled?: ReadonlySet<number>
}

export interface Structure {
  /** Nodes reachable from the entry, in reverse postorder. */
  readonly order: readonly number[]
  /** Position of each node in `order`, or -1. */
  readonly position: readonly number[]
  /** Children in the dominator tree. */
  readonly children: readonly (readonly number[])[]
  readonly isLoopHeader: readonly boolean[]
  /** Reached by more than one forward edge. */
  readonly isMerge: readonly boolean[]
  /** Edges that were cut, as `from * nodes + to`. */
  readonly cut: ReadonlySet<number>
}

export function structure(graph: FlowGraph): Structure {
  const count = graph.successors.length
  const cut = new Set<number>()
  for (;;) {
    const successors = graph.successors.map((list, from) => list.filter((to) => !cut.has(from * count + to)))
    const { order, position } = reversePostorder(successors)
    const dominator = immediateDominators(successors, order, position)
    const dominates = (a: number, b: number): boolean => {
      let node = b
      while (position[node] > position[a]) node = dominator[node]
      return node === a
    }
    const isLoopHeader = new Array<boolean>(count).fill(false)
    const forwardIn = new Array<number>(count).fill(0)
    let irreducible = false
    for (const from of order) {
      for (const to of successors[from]) {
        if (position[to] > position[from]) forwardIn[to]++
        else if (dominates(to, from)) isLoopHeader[to] = true
        else {
          cut.add(from * count + to)
          irreducible = true
        }
      }
    }
    if (irreducible) continue
    const children = graph.successors.map((): number[] => [])
    for (const node of order) if (node !== 0) children[dominator[node]].push(node)
    return {
      order,
      position,
      children,
      isLoopHeader,
      isMerge: forwardIn.map((n, node) => n > 1 || (n > 0 && graph.labelled?.has(node) === true)),
      cut,
    }
  }
}

function reversePostorder(successors: readonly (readonly number[])[]): {
  order: number[]
  position: number[]
} {
  const position = new Array<number>(successors.length).fill(-1)
  const seen = new Array<boolean>(successors.length).fill(false)
  const post: number[] = []
  // Iterative: regions can be deep.
  const stack: { node: number; next: number }[] = [{ node: 0, next: 0 }]
  seen[0] = true
  while (stack.length > 0) {
    const top = stack[stack.length - 1]
    if (top.next < successors[top.node].length) {
      const to = successors[top.node][top.next++]
      if (!seen[to]) {
        seen[to] = true
        stack.push({ node: to, next: 0 })
      }
    } else {
      post.push(top.node)
      stack.pop()
    }
  }
  const order = post.reverse()
  order.forEach((node, i) => {
    position[node] = i
  })
  return { order, position }
}

/** Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm" (2001). */
function immediateDominators(
  successors: readonly (readonly number[])[],
  order: readonly number[],
  position: readonly number[],
): number[] {
  const predecessors = successors.map((): number[] => [])
  for (const from of order) for (const to of successors[from]) predecessors[to].push(from)
  const dominator = new Array<number>(successors.length).fill(-1)
  dominator[0] = 0
  let changed = true
  while (changed) {
    changed = false
    for (const node of order) {
      if (node === 0) continue
      let best = -1
      for (const p of predecessors[node]) {
        if (dominator[p] === -1) continue
        best = best === -1 ? p : intersect(p, best)
      }
      if (best !== dominator[node]) {
        dominator[node] = best
        changed = true
      }
    }
  }
  return dominator

  function intersect(a: number, b: number): number {
    let x = a
    let y = b
    while (x !== y) {
      while (position[x] > position[y]) x = dominator[x]
      while (position[y] > position[x]) y = dominator[y]
    }
    return x
  }
}
