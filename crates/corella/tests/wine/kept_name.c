/* Shows that Wine 8.0 keeps the name of a file that is deleted until the last who has it open is done, also if it is asked to
   give it up at once (as Windows does since Windows 10, 1709). Ends with 0 if it is so. */
#include <windows.h>

int main(void)
{
    const DWORD shared = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    const int disposition_ex = 21; /* FileDispositionInfoEx */
    DWORD flags = 1 | 2;           /* delete, with the semantics of POSIX */
    WCHAR path[MAX_PATH];
    HANDLE held, deleter, next;
    BOOL gives_up;
    if (!GetTempPathW(MAX_PATH - 20, path))
        return 2;
    lstrcatW(path, L"kept-name");
    held = CreateFileW(path, GENERIC_READ, shared, NULL, CREATE_ALWAYS, 0, NULL);
    deleter = CreateFileW(path, DELETE, shared, NULL, OPEN_EXISTING, 0, NULL);
    if (held == INVALID_HANDLE_VALUE || deleter == INVALID_HANDLE_VALUE)
        return 2;
    gives_up = SetFileInformationByHandle(deleter, disposition_ex, &flags, sizeof flags);
    CloseHandle(deleter);
    if (!gives_up && !DeleteFileW(path))
        return 2;
    next = CreateFileW(path, GENERIC_WRITE, shared, NULL, CREATE_NEW, 0, NULL);
    CloseHandle(held);
    return next == INVALID_HANDLE_VALUE ? 0 : 1;
}
