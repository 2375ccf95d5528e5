"""A step with tensors that have shapes and no data, and what it would have taken."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from janus_training.planner.flops import gathered, products

aten = torch.ops.aten

INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}

FREE = {
    aten.empty.memory_format, aten.empty_like.default, aten.new_empty.default,
    aten.empty_strided.default, aten.new_empty_strided.default, aten.detach.default,
    aten.lift_fresh.default, aten._unsafe_view.default,
}  # fmt: skip
"""Operators that touch no memory, besides those that return views."""

Counts = dict[str, float]


class Meter(TorchDispatchMode):
    """Counts, by phase, what operators would do inside this context.

    Tensors on the device ``meta`` have no data. Beside them integers may be real: whoever meets a tensor without data
    loses its own, and a value that is read from one is one. So the code of a step runs as it is.

    Attributes:
        flops: of products. touched: bytes read and written. calls: operators that do either.
        peak: largest number of bytes that live at once and were made inside the context.
    """

    def __init__(self, phase: Callable[[], str]) -> None:
        super().__init__()
        self._phase = phase
        self.flops: Counts = defaultdict(float)
        self.touched: Counts = defaultdict(float)
        self.calls: Counts = defaultdict(float)
        self.peak: Counts = defaultdict(float)
        self._live = 0
        self._shapes_of: dict[Any, Any] = {}
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        tensors = [*_tensors(args), *_tensors(named.values())]
        if not any(tensor.is_meta for tensor in tensors):
            result = func(*args, **named)
            self._note_new(result)  # empty tensors are made without arguments
            return result
        if func is aten._local_scalar_dense.default:
            return 1.0
        if func is aten._to_copy.default and _to_cpu(named):
            return torch.ones(args[0].shape, dtype=named.get("dtype") or args[0].dtype)
        if func in INDEXING:
            args = (args[0], _places(args[1]), *args[2:])
        if not all(tensor.is_meta for tensor in tensors):
            args, named = _without_data(args), _without_data(named)
        result = self._result(func, args, named)
        self._note(func, args, named, tensors, result)
        return result

    def _result(self, func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """What the operator returns; shapes are worked out once where the same ones come again."""
        if func.is_view or func._schema.is_mutable or func in FREE:
            return func(*args, **named)
        key = func, _shapes(args), _shapes(named)
        if key not in self._shapes_of:
            result = func(*args, **named)
            plain = isinstance(result, Tensor) and result.is_meta
            known = (result.shape, result.stride(), result.dtype) if plain else None
            self._shapes_of[key] = known
            return result
        known = self._shapes_of[key]
        if known is None:
            return func(*args, **named)
        shape, stride, dtype = known
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")

    def _note(
        self, func: Any, args: tuple[Any, ...], named: dict[str, Any], tensors: list[Tensor], result: Any
    ) -> None:  # fmt: skip
        phase = self._phase()
        made = self._note_new(result)
        if func.is_view or func in FREE:
            return
        self.calls[phase] += 1
        self.touched[phase] += sum(t.nbytes for t in tensors) + sum(t.nbytes for t in made)
        count = products(func, args, named, result)
        if count is not None:
            self.flops[phase] += count
            inside = gathered(func, args, result)
            self.touched[phase] += 2 * inside
            self.peak[phase] = max(self.peak[phase], self._live + inside)

    def _note_new(self, result: Any) -> list[Tensor]:
        """The tensors of a result; those whose storage is new live from now on."""
        made = [result] if isinstance(result, Tensor) else []
        if isinstance(result, tuple | list):
            made = [leaf for leaf in result if isinstance(leaf, Tensor)]
        for tensor in made:
            if tensor.is_meta:
                self._begin(tensor.untyped_storage())
        return made

    def _begin(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        # An address may come again once its storage is gone.
        if key in self._known and self._known[key]() is not None:
            return
        size = storage.nbytes()
        self._live += size
        self.peak[self._phase()] = max(self.peak[self._phase()], self._live)

        def end(_: Any) -> None:
            self._live -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, end)

    def know(self, tensors: Iterable[Tensor]) -> None:
        """Tensors that lived before: they do not count."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._known[storage._cdata] = weakref.ref(storage)


def _to_cpu(named: dict[str, Any]) -> bool:
    device = named.get("device")
    return device is not None and torch.device(device).type == "cpu"


def _places(indices: list[Tensor | None]) -> list[Tensor | None]:
    """Masks as numbers of places: how many they choose is known only of real ones."""
    found: list[Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype is torch.bool:
            found += index.nonzero().unbind(1)
        else:
            found.append(index)
    return found


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _without_data(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if value.is_meta else value.to("meta")
    if isinstance(value, dict):
        return {name: _without_data(inner) for name, inner in value.items()}
    return type(value)(map(_without_data, value)) if isinstance(value, list | tuple) else value


def _shapes(value: Any) -> Any:
    """The value with tensors replaced by all that an operator's result can depend on without data."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype
    if isinstance(value, dict):
        return tuple((name, _shapes(inner)) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_shapes, value))
    return type(value), value
