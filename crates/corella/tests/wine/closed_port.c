/* Shows that Wine 8.0 wakes nobody who sleeps at a completion port when that is closed; Windows ends the wait with
   ERROR_ABANDONED_WAIT_0. Ends with 0 if it is so. */
#include <windows.h>

static DWORD WINAPI close_soon(void *port)
{
    Sleep(200);
    return CloseHandle(port) ? 0 : 1;
}

int main(void)
{
    const DWORD long_ms = 2000;
    OVERLAPPED_ENTRY packet;
    ULONG count;
    HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    HANDLE closer = CreateThread(NULL, 0, close_soon, port, 0, NULL);
    BOOL is_dequeued = GetQueuedCompletionStatusEx(port, &packet, 1, &count, long_ms, FALSE);
    DWORD code = GetLastError(), closed = 2;
    WaitForSingleObject(closer, INFINITE);
    if (!GetExitCodeThread(closer, &closed) || closed)
        return 2;
    return !is_dequeued && code == WAIT_TIMEOUT ? 0 : 1;
}
