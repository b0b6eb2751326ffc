/**
 * A pickle machine that can only build data. Python's unpickler calls whatever the file names; this one
 * knows the opcodes that `torch.save` emits, and a short list of global names each of which is replaced
 * by a function of ours (globals.ts). Everything else ends the reading with an error that says what was
 * refused. Opcodes: Python's Lib/pickletools.py (protocols 2 to 5, without the text opcodes).
 */
import { VtpError } from '../../errors.js'
import { applyGlobal, buildState, resolveGlobal } from './globals.js'
import { badTorchFile, isGlobal, type StackValue, type TorchValue } from './values.js'

export interface PickleOptions {
  /** For messages. */
  file: string
  /** What a persistent id stands for; absent where a pickle may have none. */
  persistent?: (id: StackValue) => StackValue
}

/** Thrown inside when the bytes end before STOP, so that a caller who read too few can read more. */
export class PickleTruncated extends Error {}

const MARK = Symbol('mark')
const MAX_MEMO = 20_000_000
/** Far more than any checkpoint has; a compressed pickle of a few kilobytes may hold a thousand times that. */
const MAX_OPCODES = 4_000_000

/** Reads one pickle from `start` on. Throws VtpError `unsafe_pickle` or `bad_torch_file`, and PickleTruncated. */
export function readPickle(data: Buffer, start: number, options: PickleOptions): { value: StackValue; end: number } {
  const { file } = options
  const stack: (StackValue | typeof MARK)[] = []
  const memo = new Map<number, StackValue>()
  let at = start

  const take = (bytes: number): number => {
    const from = at
    if (from + bytes > data.length) throw new PickleTruncated()
    at = from + bytes
    return from
  }
  const length = (size: 1 | 4 | 8): number => {
    const from = take(size)
    const value = size === 1 ? data[from]! : size === 4 ? data.readUInt32LE(from) : Number(data.readBigUInt64LE(from))
    if (!Number.isSafeInteger(value)) throw badTorchFile(file, 'a length in its pickle is out of range')
    return value
  }
  const text = (size: 1 | 4 | 8, encoding: 'utf8' | 'latin1' = 'utf8'): string => {
    const bytes = length(size)
    const from = take(bytes)
    return data.toString(encoding, from, from + bytes)
  }
  const bytes = (size: 1 | 4 | 8): Uint8Array => {
    const count = length(size)
    const from = take(count)
    return data.subarray(from, from + count)
  }
  const line = (): string => {
    const end = data.indexOf(10, at)
    if (end < 0) throw new PickleTruncated()
    const from = at
    at = end + 1
    return data.toString('utf8', from, end)
  }
  const integer = (count: number): number | bigint => {
    const from = take(count)
    let value = 0n
    for (let i = count - 1; i >= 0; i--) value = (value << 8n) | BigInt(data[from + i]!)
    if (count > 0 && data[from + count - 1]! & 0x80) value -= 1n << BigInt(8 * count)
    return Number.isSafeInteger(Number(value)) ? Number(value) : value
  }
  const pop = (): StackValue => {
    const value = stack.pop()
    if (value === undefined || value === MARK) throw badTorchFile(file, 'its pickle takes more than it has')
    return value
  }
  const top = (): StackValue => {
    const value = stack.at(-1)
    if (value === undefined || value === MARK) throw badTorchFile(file, 'its pickle takes more than it has')
    return value
  }
  const popMark = (): StackValue[] => {
    const mark = stack.lastIndexOf(MARK)
    if (mark < 0) throw badTorchFile(file, 'its pickle has no mark')
    const items = stack.slice(mark + 1) as StackValue[]
    stack.length = mark
    return items
  }
  const values = (items: StackValue[]): TorchValue[] => items as TorchValue[]
  const tuple = (count: number): StackValue => {
    const items = Array.from({ length: count }, pop).reverse()
    return values(items)
  }
  const remember = (index: number): void => {
    if (memo.size > MAX_MEMO) throw badTorchFile(file, 'its pickle remembers too much')
    memo.set(index, top())
  }
  const recall = (index: number): StackValue => {
    const value = memo.get(index)
    if (value === undefined) throw badTorchFile(file, 'its pickle refers to what it did not store')
    return value
  }
  const setItems = (items: StackValue[]): void => {
    const target = top()
    if (!(target instanceof Map) || items.length % 2) throw badTorchFile(file, 'its pickle sets items of no dict')
    for (let i = 0; i < items.length; i += 2) target.set(items[i] as TorchValue, items[i + 1] as TorchValue)
  }
  const append = (items: StackValue[]): void => {
    const target = top()
    if (!Array.isArray(target)) throw badTorchFile(file, 'its pickle appends to no list')
    for (const item of values(items)) target.push(item)
  }
  const call = (args: StackValue, callee: StackValue): StackValue => {
    if (!isGlobal(callee) || !Array.isArray(args))
      throw badTorchFile(file, 'its pickle calls something that is not a function')
    return applyGlobal(callee, args, file)
  }
  const toMap = (items: StackValue[]): StackValue => {
    stack.push(new Map<TorchValue, TorchValue>())
    setItems(items)
    return pop()
  }

  for (let count = 0; ; count++) {
    if (count > MAX_OPCODES) throw badTorchFile(file, `its pickle has more than ${MAX_OPCODES} steps`)
    const opcode = data[take(1)]!
    switch (String.fromCharCode(opcode)) {
      case '\x80': // PROTO
        if (data[take(1)]! > 5) throw badTorchFile(file, 'its pickle has an unknown protocol')
        break
      case '\x95': // FRAME
        take(8)
        break
      case '.': // STOP
        return { value: pop(), end: at }
      case '(':
        stack.push(MARK)
        break
      case '0':
        pop()
        break
      case '1':
        popMark()
        break
      case '2':
        stack.push(top())
        break
      case 'N':
        stack.push(null)
        break
      case '\x88':
        stack.push(true)
        break
      case '\x89':
        stack.push(false)
        break
      case 'J':
        stack.push(data.readInt32LE(take(4)))
        break
      case 'K':
        stack.push(data[take(1)]!)
        break
      case 'M':
        stack.push(data.readUInt16LE(take(2)))
        break
      case '\x8a':
        stack.push(integer(length(1)))
        break
      case '\x8b': {
        const count = length(4)
        if (count > 1024) throw badTorchFile(file, `its pickle has an integer of ${count} bytes`)
        stack.push(integer(count))
        break
      }
      case 'G':
        stack.push(data.readDoubleBE(take(8)))
        break
      case 'X':
        stack.push(text(4))
        break
      case '\x8c':
        stack.push(text(1))
        break
      case '\x8d':
        stack.push(text(8))
        break
      case 'U': // Python 2's byte strings
        stack.push(text(1, 'latin1'))
        break
      case 'T':
        stack.push(text(4, 'latin1'))
        break
      case 'C':
        stack.push(bytes(1))
        break
      case 'B':
        stack.push(bytes(4))
        break
      case '\x8e':
        stack.push(bytes(8))
        break
      case ')':
        stack.push([])
        break
      case '\x85':
        stack.push(tuple(1))
        break
      case '\x86':
        stack.push(tuple(2))
        break
      case '\x87':
        stack.push(tuple(3))
        break
      case 't':
      case 'l':
        stack.push(values(popMark()))
        break
      case ']':
        stack.push([])
        break
      case 'a': {
        const item = pop()
        append([item])
        break
      }
      case 'e':
        append(popMark())
        break
      case '}':
        stack.push(new Map<TorchValue, TorchValue>())
        break
      case 'd':
        stack.push(toMap(popMark()))
        break
      case 's': {
        const value = pop()
        const key = pop()
        setItems([key, value])
        break
      }
      case 'u':
        setItems(popMark())
        break
      case '\x8f':
        stack.push(new Set<TorchValue>())
        break
      case '\x90': {
        const items = popMark()
        const target = top()
        if (!(target instanceof Set)) throw badTorchFile(file, 'its pickle adds to no set')
        for (const item of values(items)) target.add(item)
        break
      }
      case '\x91':
        stack.push(new Set(values(popMark())))
        break
      case 'q':
        remember(length(1))
        break
      case 'r':
        remember(length(4))
        break
      case '\x94':
        remember(memo.size)
        break
      case 'h':
        stack.push(recall(length(1)))
        break
      case 'j':
        stack.push(recall(length(4)))
        break
      case 'c': {
        const module = line()
        stack.push(resolveGlobal(module, line(), file))
        break
      }
      case '\x93': {
        const name = pop()
        const module = pop()
        if (typeof name !== 'string' || typeof module !== 'string')
          throw badTorchFile(file, 'a name in it is not a text')
        stack.push(resolveGlobal(module, name, file))
        break
      }
      case 'R':
      case '\x81': {
        const args = pop()
        stack.push(call(args, pop()))
        break
      }
      case 'b': {
        const state = pop()
        buildState(top(), state, file)
        break
      }
      case 'Q': {
        if (!options.persistent) throw badTorchFile(file, 'its pickle has a persistent id where none is expected')
        stack.push(options.persistent(pop()))
        break
      }
      default:
        throw new VtpError(
          `${file} is refused: its pickle uses opcode 0x${opcode.toString(16).padStart(2, '0')}, which tensor files do not need`,
          { code: 'unsafe_pickle', suggestions: ['check where the file comes from'] },
        )
    }
  }
}
