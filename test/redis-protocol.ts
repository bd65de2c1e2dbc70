/** As much of the Redis protocol (RESP2) as tests need: commands out, replies in, bounded. */

/** Far above any reply these tests ask for. */
const REPLY_CHARS_MAX = 4096

export type RedisReply =
  | { readonly kind: 'integer'; readonly value: number }
  /** Null: there is no such key. */
  | { readonly kind: 'bulk'; readonly value: string | null }
  | { readonly kind: 'status'; readonly text: string }
  | { readonly kind: 'error'; readonly text: string }

/** ASCII only, so that characters are bytes. */
export function redisCommand(...words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`
}

/** Puts replies together from pieces as they come. Text is Latin-1: one character, one byte. */
export class RedisReplies {
  #text = ''

  /** The replies that are whole now. Throws an Error at what is none. */
  push(text: string): RedisReply[] {
    this.#text += text
    const replies: RedisReply[] = []
    for (let reply = this.#next(); reply !== null; reply = this.#next()) replies.push(reply)
    if (this.#text.length > REPLY_CHARS_MAX) throw new Error('a reply of Redis is too long')
    return replies
  }

  #next(): RedisReply | null {
    const end = this.#text.indexOf('\r\n')
    if (end < 0) return null
    const line = this.#text.slice(1, end)
    switch (this.#text[0]) {
      case ':':
        return this.#take(end + 2, { kind: 'integer', value: whole(line) })
      case '+':
        return this.#take(end + 2, { kind: 'status', text: line })
      case '-':
        return this.#take(end + 2, { kind: 'error', text: line })
      case '$': {
        const length = whole(line)
        if (length === -1) return this.#take(end + 2, { kind: 'bulk', value: null })
        const from = end + 2
        if (length < 0 || length > REPLY_CHARS_MAX) throw new Error(`a bulk reply of ${length} bytes`)
        if (this.#text.length < from + length + 2) return null
        const value = this.#text.slice(from, from + length)
        if (!this.#text.startsWith('\r\n', from + length)) throw new Error('a bulk reply without its end')
        return this.#take(from + length + 2, { kind: 'bulk', value })
      }
      default:
        throw new Error(`no reply of Redis: ${JSON.stringify(this.#text.slice(0, 40))}`)
    }
  }

  #take(chars: number, reply: RedisReply): RedisReply {
    this.#text = this.#text.slice(chars)
    return reply
  }
}

function whole(text: string): number {
  if (!/^-?[0-9]{1,15}$/.test(text)) throw new Error(`no number: ${JSON.stringify(text.slice(0, 40))}`)
  return Number(text)
}
