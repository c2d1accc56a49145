// Rust's standard library takes its random numbers from this DLL. Windows has it, but Debian 12's Wine does not. Wine
// has the same function under an older name.
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length) {
  return SystemFunction036(buffer, (ULONG)length);
}
