/* Shows that Wine 8.0 makes no symbolic links: the call claims success, and there is none. Ends with 0 if it is so. */
#include <windows.h>

int main(void)
{
    const DWORD unprivileged = 2;
    WCHAR folder[MAX_PATH], target[MAX_PATH], link[MAX_PATH];
    HANDLE file;
    if (!GetTempPathW(MAX_PATH - 20, folder))
        return 2;
    wsprintfW(target, L"%slink-target", folder);
    wsprintfW(link, L"%slink", folder);
    DeleteFileW(link);
    file = CreateFileW(target, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return 2;
    CloseHandle(file);
    CreateSymbolicLinkW(link, target, unprivileged);
    return GetFileAttributesW(link) == INVALID_FILE_ATTRIBUTES ? 0 : 1;
}
