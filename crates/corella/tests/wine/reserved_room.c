/* Shows that Wine 8.0 takes no room on the disk for the length that a file is given, and has no call that does. Ends with
   0 if it is so. */
#include <windows.h>

int main(void)
{
    WCHAR path[MAX_PATH];
    FILE_END_OF_FILE_INFO length;
    FILE_ALLOCATION_INFO room;
    FILE_STANDARD_INFO standard;
    HANDLE file;
    BOOL reserves;
    if (!GetTempPathW(MAX_PATH - 20, path))
        return 2;
    lstrcatW(path, L"reserved-room");
    file = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_FLAG_DELETE_ON_CLOSE, NULL);
    length.EndOfFile.QuadPart = room.AllocationSize.QuadPart = 100000;
    if (!SetFileInformationByHandle(file, FileEndOfFileInfo, &length, sizeof length))
        return 2;
    reserves = SetFileInformationByHandle(file, FileAllocationInfo, &room, sizeof room);
    if (!GetFileInformationByHandleEx(file, FileStandardInfo, &standard, sizeof standard))
        return 2;
    return !reserves && standard.AllocationSize.QuadPart < 100000 ? 0 : 1;
}
