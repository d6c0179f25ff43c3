/* Shows that Wine 8.0 goes on with a send on a socket that is closed meanwhile, for as long as its peer does not read, and
   ends no receive on that socket either; Windows ends both. Ends with 0 if it is so.

   Both are brought to their ends before this one ends: Wine's server, which has to end them otherwise, then reads and writes
   memory that it has freed, and dies of it now and then (seen under valgrind). */
#include <winsock2.h>
#include <stdlib.h>

int main(void)
{
    enum { LARGE = 64 << 20 };
    const DWORD soon_ms = 1000;
    WSADATA data;
    struct sockaddr_in address = {AF_INET};
    int length = sizeof address;
    OVERLAPPED overlapped[2] = {{0}, {0}};
    OVERLAPPED_ENTRY packet;
    DWORD flags = 0;
    ULONG count;
    char byte;
    WSABUF room = {1, &byte}, content = {LARGE, calloc(1, LARGE)};
    SOCKET listener, ours;
    HANDLE port;
    if (WSAStartup(0x202, &data))
        return 2;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(listener, (struct sockaddr *)&address, length);
    listen(listener, 1);
    getsockname(listener, (struct sockaddr *)&address, &length);
    ours = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(ours, (struct sockaddr *)&address, length))
        return 2;
    port = CreateIoCompletionPort((HANDLE)ours, NULL, 0, 1);
    WSARecv(ours, &room, 1, NULL, &flags, &overlapped[0], NULL);
    WSASend(ours, &content, 1, NULL, 0, &overlapped[1], NULL);
    Sleep(100);
    if (closesocket(ours))
        return 2;
    if (GetQueuedCompletionStatusEx(port, &packet, 1, &count, soon_ms, FALSE))
        return 1;
    closesocket(listener);
    for (int ended = 0; ended < 2; ended++)
        if (!GetQueuedCompletionStatusEx(port, &packet, 1, &count, soon_ms, FALSE))
            return 2;
    return 0;
}
