/* The one function that Rust's standard library imports from bcryptprimitives.dll, which Wine 8.0 lacks: random bytes,
   made with the function that Windows has had for them before. */
#include <windows.h>

#define PART_MAX 0x10000000

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
    while (length > 0) {
        ULONG part = length > PART_MAX ? PART_MAX : (ULONG)length;
        if (!SystemFunction036(data, part))
            return FALSE;
        data += part;
        length -= part;
    }
    return TRUE;
}
