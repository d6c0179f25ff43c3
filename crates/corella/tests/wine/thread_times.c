/* Shows that Wine 8.0 tells the times of a thread in steps of 10 ms, too coarse to tell what one turn has cost. Ends with
   0 if it is so. */
#include <windows.h>

static ULONGLONG used(void)
{
    FILETIME made, ended, kernel, user;
    GetThreadTimes(GetCurrentThread(), &made, &ended, &kernel, &user);
    return (((ULONGLONG)kernel.dwHighDateTime << 32) + kernel.dwLowDateTime)
        + (((ULONGLONG)user.dwHighDateTime << 32) + user.dwLowDateTime);
}

int main(void)
{
    const ULONGLONG step = 100000; /* of 100 ns */
    ULONGLONG first = used(), next;
    do
        next = used();
    while (next == first);
    return (next - first) % step == 0 ? 0 : 1;
}
