/**
 * The names that a pickle may refer to, and what stands for them here. No Python is run: a name is a key
 * of this table, its entry a function from arguments to data. The list is that of
 * `torch.load(weights_only=True)` as far as files of weights use it, plus argparse.Namespace (training
 * scripts store their arguments as one) and NumPy scalars (they store their best score as one).
 */
import { VtpError } from '../../errors.js'
import {
  badTorchFile,
  type GlobalName,
  isGlobal,
  isStorage,
  isTensor,
  type StackValue,
  TORCH_DTYPE_BYTES,
  type TorchDtype,
  type TorchValue,
} from './values.js'

/** A NumPy dtype on its way to a scalar. */
const NUMPY_DTYPES: Record<string, (view: DataView) => TorchValue> = {
  f8: (view) => view.getFloat64(0, true),
  f4: (view) => view.getFloat32(0, true),
  i8: (view) => Number(view.getBigInt64(0, true)),
  i4: (view) => view.getInt32(0, true),
  i2: (view) => view.getInt16(0, true),
  i1: (view) => view.getInt8(0),
  u8: (view) => Number(view.getBigUint64(0, true)),
  u4: (view) => view.getUint32(0, true),
  u1: (view) => view.getUint8(0),
  b1: (view) => view.getUint8(0) !== 0,
}

const STORAGES: Record<string, TorchDtype | undefined> = {
  DoubleStorage: 'float64',
  FloatStorage: 'float32',
  HalfStorage: 'float16',
  BFloat16Storage: 'bfloat16',
  LongStorage: 'int64',
  IntStorage: 'int32',
  ShortStorage: 'int16',
  CharStorage: 'int8',
  ByteStorage: 'uint8',
  BoolStorage: 'bool',
  ComplexFloatStorage: 'complex64',
  ComplexDoubleStorage: 'complex128',
}

type Apply = (args: TorchValue[], file: string) => StackValue

const toMap: Apply = ([from], file) => {
  const map = new Map<TorchValue, TorchValue>()
  if (from instanceof Map) return new Map(from)
  if (from === undefined) return map
  if (!Array.isArray(from)) throw badTorchFile(file, 'a dict in it is made of no pairs')
  for (const pair of from) {
    if (!Array.isArray(pair) || pair.length !== 2) throw badTorchFile(file, 'a dict in it is made of no pairs')
    map.set(pair[0]!, pair[1]!)
  }
  return map
}

const toArray: Apply = ([from], file) => {
  if (from === undefined) return []
  if (Array.isArray(from)) return [...from]
  if (from instanceof Set) return [...from]
  throw badTorchFile(file, 'a list in it is made of no list')
}

const numpyScalar: Apply = ([dtype, data], file) => {
  const read = typeof dtype === 'string' ? NUMPY_DTYPES[dtype] : undefined
  if (!read || !(data instanceof Uint8Array) || data.length !== Number((dtype as string)[1]))
    throw badTorchFile(file, 'a NumPy scalar in it is of an unknown type')
  return read(new DataView(data.buffer, data.byteOffset, data.byteLength))
}

/** Maps whose contents a BUILD brings. */
const namespaces = new WeakSet<object>()

const APPLY: Record<string, Apply> = {
  'collections.OrderedDict': toMap,
  'collections.Counter': toMap,
  'builtins.dict': toMap,
  'collections.defaultdict': () => new Map<TorchValue, TorchValue>(),
  'argparse.Namespace': () => {
    const namespace = new Map<TorchValue, TorchValue>()
    namespaces.add(namespace)
    return namespace
  },
  'builtins.list': toArray,
  'builtins.tuple': toArray,
  'torch.Size': toArray,
  'builtins.set': (args, file) => new Set(toArray(args, file) as TorchValue[]),
  'builtins.frozenset': (args, file) => new Set(toArray(args, file) as TorchValue[]),
  'torch.device': (args, file) => {
    // Anything else may be a list of lists of itself, whose text has no end.
    const plain = args.every((arg) => typeof arg === 'string' || Number.isSafeInteger(arg))
    if (!plain || args.length > 2) throw badTorchFile(file, 'a device in it is malformed')
    return args.join(':')
  },
  '_codecs.encode': ([text, encoding], file) => {
    if (typeof text !== 'string' || encoding !== 'latin1') throw badTorchFile(file, 'bytes in it are malformed')
    return Buffer.from(text, 'latin1')
  },
  'numpy.dtype': ([name], file) => {
    if (typeof name !== 'string' || !(name in NUMPY_DTYPES)) throw badTorchFile(file, 'a NumPy type in it is unknown')
    return name
  },
  'numpy.core.multiarray.scalar': numpyScalar,
  'numpy._core.multiarray.scalar': numpyScalar,
  'torch._utils._rebuild_tensor': (args, file) => tensor(args, file),
  'torch._utils._rebuild_tensor_v2': (args, file) => tensor(args, file, undefined, args[6]),
  'torch._utils._rebuild_tensor_v3': (args, file) => {
    const dtype = args[6] as StackValue
    return tensor(args, file, isGlobal(dtype) ? dtype.dtype : undefined, args[7])
  },
  'torch._utils._rebuild_parameter_with_state': ([data], file) => onlyTensor(data, file),
  // A subclass on its way: the function that makes the tensor, its class, arguments, attributes.
  'torch._tensor._rebuild_from_type_v2': (args, file) => {
    const [make, type, from] = args as [StackValue, StackValue, StackValue]
    const known = isGlobal(make) && make.name.startsWith('torch._utils._rebuild_') && Array.isArray(from)
    const plain = isGlobal(type) && (type.name === 'torch.Tensor' || type.name === 'torch.nn.parameter.Parameter')
    if (!known || !plain) throw badTorchFile(file, 'a tensor in it is of an unknown class')
    return onlyTensor(applyGlobal(make, from, file) as TorchValue, file)
  },
  'torch._utils._rebuild_parameter': ([data], file) => onlyTensor(data, file),
  'torch.nn.parameter.Parameter': ([data], file) => onlyTensor(data, file),
}

function onlyTensor(value: TorchValue | undefined, file: string): StackValue {
  if (!isTensor(value)) throw badTorchFile(file, 'a parameter in it is not a tensor')
  return value
}

/** Python 2 and 3 call the same modules by different names. */
const MODULES: Record<string, string> = { __builtin__: 'builtins' }

/** The entry of the table. Throws VtpError `unsafe_pickle` for any other name. */
export function resolveGlobal(module: string, name: string, file: string): GlobalName {
  const full = `${Object.hasOwn(MODULES, module) ? MODULES[module] : module}.${name}`
  if (Object.hasOwn(APPLY, full)) return { kind: 'global', name: full }
  if (module === 'torch' && Object.hasOwn(STORAGES, name)) return { kind: 'global', name: full, dtype: STORAGES[name]! }
  if (module === 'torch' && Object.hasOwn(TORCH_DTYPE_BYTES, name))
    return { kind: 'global', name: full, dtype: name as TorchDtype }
  if (['torch.storage.UntypedStorage', 'torch.UntypedStorage', 'torch.Tensor'].includes(full))
    return { kind: 'global', name: full }
  if (module.startsWith('__torch__'))
    throw new VtpError(
      `${file} is a TorchScript archive, which holds code; only tensors and plain containers are read`,
      {
        code: 'unsafe_pickle',
        suggestions: ['use the same model as a state dict, or in the layout of transformers'],
      },
    )
  const shown = `${module}.${name}`.replace(/[^\w.]/g, '?').slice(0, 80)
  throw new VtpError(`${file} is refused: it refers to ${shown}; only tensors and plain containers are read`, {
    code: 'unsafe_pickle',
    suggestions: [
      'do not load the file with other programs unless you trust where it comes from',
      'if you do, keep only its tensors: torch.save(model.state_dict(), FILE), or save them as safetensors',
    ],
  })
}

export function applyGlobal(callee: GlobalName, args: StackValue[], file: string): StackValue {
  const apply = APPLY[callee.name]
  if (!apply) throw badTorchFile(file, `it calls ${callee.name}, which is a type`)
  return apply(args as TorchValue[], file)
}

/** BUILD: attributes are dropped, but for a Namespace's, which are its contents. */
export function buildState(target: StackValue, state: StackValue, file: string): void {
  if (target instanceof Map && namespaces.has(target) && state instanceof Map) {
    for (const [key, value] of state) target.set(key, value)
    return
  }
  const data = target instanceof Map || isTensor(target) || (typeof target === 'string' && target in NUMPY_DTYPES)
  if (!data) throw badTorchFile(file, 'it sets attributes of what has none')
}

/** Bytes of a tensor that repeats its storage's. */
const MAX_EXPANDED = 2 ** 28

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** (storage, offset, size, stride, …) as torch._utils has it; every number is checked against the storage. */
function tensor(args: TorchValue[], file: string, named?: TorchDtype, metadata?: TorchValue): StackValue {
  if (metadata instanceof Map && (metadata.get('conj') === true || metadata.get('neg') === true))
    throw badTorchFile(
      file,
      'a tensor in it is a view that stands for conjugates or negatives (save resolve_conj().resolve_neg() of it)',
    )
  const [storage, offset, shape, stride] = args as [unknown, TorchValue, TorchValue, TorchValue]
  const dtype = named ?? (isStorage(storage) ? storage.dtype : undefined)
  if (!isStorage(storage) || !dtype) throw badTorchFile(file, 'a tensor in it has no storage')
  if (!isCount(offset) || !Array.isArray(shape) || !Array.isArray(stride) || shape.length !== stride.length)
    throw badTorchFile(file, 'a tensor in it is malformed')
  if (!shape.every(isCount) || !stride.every(isCount)) throw badTorchFile(file, 'a tensor in it is malformed')
  const elements = shape.reduce((a, b) => a * b, 1)
  const last = shape.reduce((sum, size, i) => sum + (size - 1) * stride[i]!, offset)
  if (elements > 2 ** 32 || (elements > 0 && (last + 1) * TORCH_DTYPE_BYTES[dtype] > storage.bytes))
    throw badTorchFile(file, `a tensor [${shape}] in it reaches beyond its storage`)
  // A few bytes may stand for any number of elements where a stride is 0.
  const bytes = elements * TORCH_DTYPE_BYTES[dtype]
  if (bytes > storage.bytes && bytes > MAX_EXPANDED)
    throw badTorchFile(file, `a tensor [${shape}] in it repeats ${storage.bytes} bytes to ${bytes}`)
  return { kind: 'tensor', dtype, shape, stride, offset, storage }
}
