/* Shows that Wine 8.0 puts no file in the place of one that somebody has open and shares (as Windows does since Windows 10,
   1607, if it is asked to in the way of POSIX). Ends with 0 if it is so. */
#include <stddef.h>
#include <windows.h>

int main(void)
{
    const DWORD shared = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    const int rename_ex = 22; /* FileRenameInfoEx */
    WCHAR folder[MAX_PATH], path[MAX_PATH], fresh[MAX_PATH];
    char memory[sizeof(FILE_RENAME_INFO) + sizeof path] = {0};
    FILE_RENAME_INFO *info = (FILE_RENAME_INFO *)memory;
    HANDLE held, mover;
    BOOL is_moved;
    if (!GetTempPathW(MAX_PATH - 20, folder))
        return 2;
    wsprintfW(path, L"%skept-place", folder);
    wsprintfW(fresh, L"%sfresh", folder);
    held = CreateFileW(path, GENERIC_READ, shared, NULL, CREATE_ALWAYS, 0, NULL);
    CloseHandle(CreateFileW(fresh, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL));
    mover = CreateFileW(fresh, DELETE | SYNCHRONIZE, shared, NULL, OPEN_EXISTING, 0, NULL);
    if (held == INVALID_HANDLE_VALUE || mover == INVALID_HANDLE_VALUE)
        return 2;
    *(DWORD *)info = 1 | 2; /* replace what is there, with the semantics of POSIX */
    info->FileNameLength = lstrlenW(path) * sizeof(WCHAR);
    lstrcpyW(info->FileName, path);
    is_moved = SetFileInformationByHandle(mover, rename_ex, info,
                                          offsetof(FILE_RENAME_INFO, FileName) + info->FileNameLength + sizeof(WCHAR));
    CloseHandle(mover);
    is_moved = is_moved || MoveFileExW(fresh, path, MOVEFILE_REPLACE_EXISTING);
    CloseHandle(held);
    return is_moved ? 1 : 0;
}
