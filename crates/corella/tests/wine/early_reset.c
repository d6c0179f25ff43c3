/* Shows that Wine 8.0 takes a connection that was reset for one that ended in order, if no receive waited when the reset
   came: the receive after it gets no bytes and no error. Ends with 0 if it is so. */
#include <winsock2.h>

int main(void)
{
    WSADATA data;
    struct sockaddr_in address = {AF_INET};
    struct linger at_once = {1, 0};
    int length = sizeof address;
    char byte;
    SOCKET listener, ours, theirs;
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
    theirs = accept(listener, NULL, NULL);
    if (setsockopt(theirs, SOL_SOCKET, SO_LINGER, (char *)&at_once, sizeof at_once))
        return 2;
    closesocket(theirs);
    Sleep(200);
    return recv(ours, &byte, 1, 0) == 0 ? 0 : 1;
}
