/* Answers the CPUID instructions that `without_vnni.py` replaced by UD2, as a processor with AVX2
 * and without AVX-512, VNNI and AMX would. Everything else is the real processor's answer.
 *
 * An ud2 raises SIGILL. The handler executes the real CPUID for the leaf that was asked for, clears
 * the bits, writes the registers and steps over the two bytes. Any other illegal instruction keeps
 * its meaning: the default action is restored and the instruction raises again.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#define BIT(n) (1u << (n))

/* leaf 7.0 EBX: AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL */
static const uint32_t HIDE_7_EBX =
    BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31);
/* leaf 7.0 ECX: AVX512 VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
static const uint32_t HIDE_7_ECX = BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14);
/* leaf 7.0 EDX: AVX512 4VNNIW, 4FMAPS, VP2INTERSECT; AMX BF16; AVX512 FP16; AMX TILE, INT8 */
static const uint32_t HIDE_7_EDX =
    BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25);
/* leaf 7.1 EAX: AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA */
static const uint32_t HIDE_71_EAX = BIT(4) | BIT(5) | BIT(21) | BIT(23);
/* leaf 7.1 EDX: AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16, AVX10 */
static const uint32_t HIDE_71_EDX = BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19);

static int (*real_sigaction)(int, const struct sigaction *, struct sigaction *);

static void answer(int signal, siginfo_t *info, void *context) {
    (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *code = (const uint8_t *)registers[REG_RIP];
    if (code[0] != 0x0f || code[1] != 0x0b) {
        struct sigaction standard;
        memset(&standard, 0, sizeof standard);
        standard.sa_handler = SIG_DFL;
        real_sigaction(signal, &standard, 0);
        return;
    }
    uint32_t leaf = (uint32_t)registers[REG_RAX], sub = (uint32_t)registers[REG_RCX];
    uint32_t a, b, c, d;
    __cpuid_count(leaf, sub, a, b, c, d);
    if (leaf == 7 && sub == 0) {
        b &= ~HIDE_7_EBX;
        c &= ~HIDE_7_ECX;
        d &= ~HIDE_7_EDX;
    } else if (leaf == 7 && sub == 1) {
        a &= ~HIDE_71_EAX;
        d &= ~HIDE_71_EDX;
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

/* Crash reporters (faulthandler, in every pytest run) want SIGILL too; they do not get it. */
int sigaction(int signal, const struct sigaction *action, struct sigaction *old) {
    if (!real_sigaction) real_sigaction = dlsym(RTLD_NEXT, "sigaction");
    return real_sigaction(signal, signal == SIGILL ? 0 : action, old);
}

__attribute__((constructor)) static void install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    real_sigaction = dlsym(RTLD_NEXT, "sigaction");
    real_sigaction(SIGILL, &action, 0);
}
