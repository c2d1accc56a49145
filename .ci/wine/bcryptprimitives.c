// Windows has this DLL, and Rust's standard library takes its random numbers from it. Debian 12's Wine lacks it, but has
// the function beneath it under an older name.
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length) {
  return SystemFunction036(buffer, (ULONG)length);
}
