/* Shows that Wine 8.0 tells no receive of a datagram that reached nobody, if none waited when word of that came: the receive
   after it waits. Ends with 0 if it is so. */
#include <winsock2.h>

int main(void)
{
    const DWORD soon_ms = 1000;
    WSADATA data;
    struct sockaddr_in nobody = {AF_INET};
    OVERLAPPED overlapped = {0};
    DWORD flags = 0;
    char byte;
    WSABUF buffer = {1, &byte};
    SOCKET ours;
    if (WSAStartup(0x202, &data))
        return 2;
    ours = socket(AF_INET, SOCK_DGRAM, 0);
    nobody.sin_addr.s_addr = htonl(0x7f070707);
    nobody.sin_port = htons(1);
    if (connect(ours, (struct sockaddr *)&nobody, sizeof nobody) || send(ours, "x", 1, 0) != 1)
        return 2;
    Sleep(200);
    overlapped.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (WSARecv(ours, &buffer, 1, NULL, &flags, &overlapped, NULL) == 0 || WSAGetLastError() != WSA_IO_PENDING)
        return 1;
    return WaitForSingleObject(overlapped.hEvent, soon_ms) == WAIT_TIMEOUT ? 0 : 1;
}
