"""Corella's files in an asyncio event loop, by plain ctypes.

The loop waits on everything in one place: asyncio's own selector, in which Corella's OS handle is one descriptor more.
Before each wait the selector asks Corella how long it may take; after it, settled requests are handed out one by one, so
that nothing of Corella's ever calls into the interpreter.
"""

import asyncio
import ctypes
import ctypes.util
import itertools
import os
import selectors

_library = ctypes.CDLL(os.environ.get("CORELLA_LIBRARY") or ctypes.util.find_library("corella") or "libcorella.so.0")

_id = ctypes.c_void_p
_number = ctypes.c_int64


def _declare(name, *arguments, result=ctypes.c_int):
    function = getattr(_library, name)
    function.argtypes = arguments
    function.restype = result
    return function


_scheduler_new = _declare("corella_scheduler_new", _id, ctypes.POINTER(_id))
_scheduler_free = _declare("corella_scheduler_free", _id)
_os_handle = _declare("corella_os_handle", _id, ctypes.POINTER(ctypes.c_ssize_t))
_prepare_wait_ns = _declare("corella_prepare_wait_ns", _id, ctypes.POINTER(_number))
_next = _declare("corella_next", _id, _number, ctypes.POINTER(_id))
_open = _declare("corella_open", _id, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int, ctypes.POINTER(_id))
_read_at = _declare("corella_read_at", _id, _id, ctypes.c_size_t, _number, ctypes.POINTER(_id))
_write_at = _declare("corella_write_at", _id, _id, ctypes.c_size_t, _number, ctypes.POINTER(_id))
_close = _declare("corella_close", _id, ctypes.POINTER(_id))
_handle_free = _declare("corella_handle_free", _id)
_set_user_data = _declare("corella_set_user_data", _id, _id, ctypes.c_int)
_set_buffer = _declare("corella_set_buffer", _id, _id, ctypes.c_size_t, ctypes.c_size_t)
_enqueue = _declare("corella_enqueue", _id)
_cancel = _declare("corella_cancel", _id)
_free = _declare("corella_free", _id)
_tag = _declare("corella_tag", _id)
_result = _declare("corella_result", _id, ctypes.POINTER(_number))
_os_code = _declare("corella_os_code", _id)
_take_handle = _declare("corella_take_handle", _id, ctypes.POINTER(_id))
_error_text = _declare("corella_error_text", _id, _id, result=ctypes.c_char_p)
_last_error_text = _declare("corella_last_error_text", _id, result=ctypes.c_char_p)
_buffer_new = _declare("corella_buffer_new", _id, ctypes.c_size_t, ctypes.POINTER(_id))
_buffer_data = _declare("corella_buffer_data", _id, result=_id)
_buffer_free = _declare("corella_buffer_free", _id)

READ, WRITE, APPEND, CREATE, CREATE_NEW, TRUNCATE = 1, 2, 4, 8, 16, 32
_CANCELLED = -2


class CorellaError(OSError):
    """A failure, with the OS's code as `errno` where it gave one, and Corella's code as `code`."""

    def __init__(self, code, os_code, text):
        super().__init__(os_code, text.decode(errors="replace"))
        self.code = code


def _check(code):
    if code < 0:
        raise CorellaError(code, 0, _last_error_text(None))
    return code


class _Selector(selectors.DefaultSelector):
    """Waits no longer than Corella allows."""

    corella = None

    def select(self, timeout=None):
        if self.corella is not None:
            allowed = self.corella._prepare_wait()
            if allowed is not None:
                timeout = allowed if timeout is None else min(timeout, allowed)
        return super().select(timeout)


class EventLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop with a Corella scheduler in it: `loop.corella`."""

    def __init__(self):
        selector = _Selector()
        super().__init__(selector)
        self.corella = Corella(self)
        selector.corella = self.corella

    def _run_once(self):
        super()._run_once()
        # A deadline or timer of Corella's may have ended the wait, without a byte on its descriptor.
        if self.corella is not None:
            self.corella._hand_out()

    def close(self):
        corella, self.corella = self.corella, None
        if corella is not None:
            self._selector.corella = None
            corella.close()
        super().close()


class Corella:
    """A scheduler, whose requests are awaited as asyncio futures."""

    def __init__(self, loop):
        self._loop = loop
        self._futures = {}
        self._tags = itertools.cycle(range(1, 2**31 - 1))
        self._scheduler = _id()
        _check(_scheduler_new(None, ctypes.byref(self._scheduler)))
        number = ctypes.c_ssize_t()
        _check(_os_handle(self._scheduler, ctypes.byref(number)))
        self._descriptor = number.value
        loop.add_reader(self._descriptor, self._hand_out)

    def _prepare_wait(self):
        nanoseconds = _number()
        _check(_prepare_wait_ns(self._scheduler, ctypes.byref(nanoseconds)))
        return None if nanoseconds.value < 0 else nanoseconds.value / 1e9

    def _hand_out(self):
        # Also when nobody waits: what the scheduler does for itself, such as a close in the background, goes on here.
        request = _id()
        while _check(_next(self._scheduler, 0, ctypes.byref(request))) == 1:
            settle = self._futures.pop(_tag(request))
            try:
                settle(request)
            finally:
                _free(request)

    async def _settled(self, request, look=lambda request, count: count):
        """Awaits a request and gives what `look` sees in it. A cancelled task waits until the OS has let go."""
        tag = next(tag for tag in self._tags if tag not in self._futures)
        future = self._loop.create_future()

        def settle(request):
            count = _number()
            code = _result(request, ctypes.byref(count))
            try:
                if code < 0:
                    raise CorellaError(code, _os_code(request), _error_text(request, None))
                outcome = look(request, count.value)
            except CorellaError as error:
                future.set_exception(error)
            else:
                future.set_result(outcome)

        try:
            _check(_set_user_data(request, None, tag))
            _check(_enqueue(request))
        except CorellaError:
            _free(request)
            raise
        self._futures[tag] = settle
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            _cancel(request)
            # Its buffer is lent until it has settled.
            await asyncio.wait([future])
            future.exception()
            raise

    async def open(self, path, flags=READ):
        """Opens a file."""
        path = os.fsencode(path)
        request = _id()
        _check(_open(self._scheduler, path, len(path), flags, ctypes.byref(request)))

        def look(request, _count):
            handle = _id()
            _check(_take_handle(request, ctypes.byref(handle)))
            return File(self, handle)

        return await self._settled(request, look)

    def close(self):
        """Cancels what is in flight, waits for the OS, and frees everything."""
        self._loop.remove_reader(self._descriptor)
        _check(_scheduler_free(self._scheduler))
        self._futures.clear()


class File:
    """An open file."""

    def __init__(self, corella, handle):
        self._corella = corella
        self._handle = handle

    async def read_at(self, length, offset):
        """Reads up to `length` bytes at `offset`; an empty result is the end."""
        # The library's memory: it stays valid whatever Python's collector does.
        buffer, request = _id(), _id()
        _check(_buffer_new(self._corella._scheduler, max(length, 1), ctypes.byref(buffer)))
        try:
            _check(_read_at(self._handle, None, 0, offset, ctypes.byref(request)))
            _check(_set_buffer(request, buffer, 0, length))
            count = await self._corella._settled(request)
            return ctypes.string_at(_buffer_data(buffer), count)
        finally:
            _buffer_free(buffer)

    async def write_at(self, data, offset):
        """Writes all of `data` at `offset`."""
        request = _id()
        kept = ctypes.create_string_buffer(data, len(data))
        _check(_write_at(self._handle, ctypes.addressof(kept), len(data), offset, ctypes.byref(request)))
        count = await self._corella._settled(request)
        del kept
        return count

    async def close(self):
        """Finishes queued writes, and closes."""
        request = _id()
        _check(_close(self._handle, ctypes.byref(request)))
        await self._corella._settled(request)
        _handle_free(self._handle)
