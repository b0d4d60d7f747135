/* SPDX-License-Identifier: Apache-2.0 */
/* Cache operations: which lines are treated, in a recording copy of the library's own loops; which
 * method is chosen; and the real thing on real memory. */
#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include <hal/cache.h>
#include <hal/error.h>

#include "cache_recorded.h"

namespace
{

/* ---- helpers ---- */

std::mt19937_64 random_source(20260101);

uint64_t random_below(uint64_t n)
{
    return random_source() % n;
}

std::vector<cache_method_facts> methods()
{
    std::vector<cache_method_facts> all(32);

    all.resize(recorded_methods(all.data(), all.size()));
    return all;
}

struct Cpu {
    uint32_t features = 0, line = 0, block = 0;
    Cpu()
    {
        recorded_detect(&features, &line, &block);
    }
};

/* As if every instruction on ranges were there; stores are really executed, so only those that
 * this processor has. */
uint32_t features_for_recording()
{
    uint32_t features = Cpu().features;

    for (const auto &m : methods())
        if (!m.stores)
            features |= m.needs;
    return features;
}

struct Trace {
    std::map<uintptr_t, int> lines; /* how often each was treated */
    std::vector<cache_note> stores;
    std::vector<std::string> fences;
    bool fence_last = false;
    bool ascending = true;
};

bool is_fence(const cache_note &note)
{
    return note.address == 0;
}

Trace trace()
{
    const cache_note *notes;
    size_t count = cache_notes(&notes);
    Trace t;
    uintptr_t last = 0;

    for (size_t i = 0; i < count; i++) {
        t.fence_last = is_fence(notes[i]);
        if (is_fence(notes[i])) {
            t.fences.push_back(notes[i].instruction);
        } else if (notes[i].len) {
            t.stores.push_back(notes[i]);
        } else {
            t.lines[notes[i].address]++;
            t.ascending = t.ascending && notes[i].address > last;
            last = notes[i].address;
        }
    }
    cache_notes_clear();
    return t;
}

std::set<uintptr_t> lines_of(uintptr_t start, size_t len, size_t line)
{
    std::set<uintptr_t> lines;

    for (uintptr_t p = start & ~(line - 1); len && p < start + len; p += line)
        lines.insert(p);
    return lines;
}

void check_exactly_once(const Trace &t, const std::set<uintptr_t> &expected)
{
    std::set<uintptr_t> once;

    for (const auto &[address, times] : t.lines)
        if (times == 1)
            once.insert(address);
    REQUIRE(once.size() == t.lines.size());
    REQUIRE((once == expected));
}

struct Form {
    std::string name;
    enum hal_cache_op op;
    int (*run)(const void *, size_t);
    const char *fence; /* NULL: none */
};

std::vector<Form> forms()
{
    return {{"writeback", HAL_CACHE_WRITEBACK, recorded_writeback, nullptr},
            {"flush", HAL_CACHE_FLUSH, recorded_flush, nullptr},
            {"invalidate", HAL_CACHE_INVALIDATE, recorded_invalidate, nullptr},
            {"persist", HAL_CACHE_PERSIST, recorded_persist, recorded_fence_store()},
            {"sync", HAL_CACHE_SYNC, recorded_sync, recorded_fence_full()}};
}

/* The addresses are never touched, only noted. */
void *at(uintptr_t address)
{
    return reinterpret_cast<void *>(address);
}

const uintptr_t base = 0x7f0000000000;

/* QEMU before 8.1 reports DCPOP to AArch64 programs and then traps DC CVAP. */
bool persist_traps()
{
#ifdef __aarch64__
    static int traps = -1;
    if (traps < 0) {
        pid_t child = fork();
        if (child == 0) {
            char byte = 0;
            (void)hal_cache_persist(&byte, 1);
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        traps = WIFSIGNALED(status) && WTERMSIG(status) == SIGILL;
        if (traps)
            MESSAGE("skipped: this emulator reports HWCAP_DCPOP but traps DC CVAP (QEMU before "
                    "8.1); HAL_CACHE=cvac would avoid it");
    }
    return traps;
#else
    return false;
#endif
}

bool has(enum hal_cache_op op)
{
    struct hal_cache_info info;

    REQUIRE(hal_cache_info(&info, sizeof(info)) == 0);
    return info.choices[op].instruction != nullptr;
}

} // namespace

/* ---- one range ---- */

TEST_CASE("every line of a range is treated once, in range, and fenced once after")
{
    for (uint32_t line : {16u, 32u, 64u, 128u, 256u}) {
        recorded_choose(features_for_recording(), line, Cpu().block, nullptr);
        cache_notes_clear();
        for (const Form &form : forms()) {
            CAPTURE(form.name);
            CAPTURE(line);
            std::vector<std::pair<uintptr_t, size_t>> ranges;
            for (size_t offset : {size_t(0), size_t(1), size_t(line) - 1, size_t(line)})
                for (size_t len : {size_t(1), size_t(line) - 1, size_t(line), size_t(line) + 1,
                                   size_t(2) * line, size_t(4096)})
                    ranges.push_back({base + offset, len});
            ranges.push_back({base + 1, 65536});
            for (int i = 0; i < 30; i++)
                ranges.push_back({base + random_below(1 << 20), 1 + random_below(20000)});
            for (const auto &[start, len] : ranges) {
                CAPTURE(start);
                CAPTURE(len);
                REQUIRE(form.run(at(start), len) == 0);
                Trace t = trace();
                check_exactly_once(t, lines_of(start, len, line));
                REQUIRE(t.ascending);
                REQUIRE(t.stores.empty());
                if (form.fence) {
                    REQUIRE(t.fences == std::vector<std::string>{form.fence});
                    REQUIRE(t.fence_last);
                } else {
                    REQUIRE(t.fences.empty());
                }
            }
        }
    }
}

TEST_CASE("nothing is done for no bytes, and for a range that is none")
{
    recorded_choose(features_for_recording(), 64, Cpu().block, nullptr);
    cache_notes_clear();
    for (const Form &form : forms()) {
        CAPTURE(form.name);
        CHECK(form.run(at(base + 5), 0) == 0);
        CHECK(form.run(nullptr, 0) == 0);
        CHECK(form.run(nullptr, 1) == -EFAULT);
        CHECK(form.run(at(base), SIZE_MAX) == -EFAULT);
        CHECK(form.run(at(UINTPTR_MAX - 10), 12) == -EFAULT);
        Trace t = trace();
        CHECK(t.lines.empty());
        CHECK(t.fences.empty());
    }
}

/* ---- many ranges ---- */

TEST_CASE("many ranges share one fence")
{
    recorded_choose(features_for_recording(), 64, Cpu().block, nullptr);
    cache_notes_clear();
    for (enum hal_cache_op op : {HAL_CACHE_WRITEBACK, HAL_CACHE_FLUSH, HAL_CACHE_INVALIDATE,
                                 HAL_CACHE_PERSIST, HAL_CACHE_SYNC}) {
        CAPTURE(op);
        bool store = op == HAL_CACHE_WRITEBACK || op == HAL_CACHE_PERSIST;
        std::string fence = store ? recorded_fence_store() : recorded_fence_full();
        std::vector<iovec> ranges;
        std::set<uintptr_t> expected;

        for (uintptr_t i = 0; i < 40; i++) {
            uintptr_t start = base + i * 8192 + random_below(4096);
            size_t len = random_below(4000);
            ranges.push_back({at(start), len});
            expected.merge(lines_of(start, len, 64));
        }
        REQUIRE(recorded_ranges(op, ranges.data(), ranges.size()) == 0);
        Trace t = trace();
        check_exactly_once(t, expected);
        CHECK(t.fences == std::vector<std::string>{fence});
        CHECK(t.fence_last);

        CHECK(recorded_ranges(op, nullptr, 0) == 0);
        CHECK(trace().fences == std::vector<std::string>{fence});

        ranges.push_back({nullptr, 1});
        CHECK(recorded_ranges(op, ranges.data(), ranges.size()) == -EFAULT);
        t = trace();
        CHECK(t.lines.empty());
        CHECK(t.fences.empty());
    }
    iovec range = {at(base), 100};
    CHECK(recorded_ranges(HAL_CACHE_PREFETCH_READ, &range, 1) == 0);
    CHECK(trace().fences.empty());
    CHECK(recorded_ranges(HAL_CACHE_COPY, &range, 1) == -EINVAL);
    CHECK(recorded_ranges(static_cast<hal_cache_op>(-1), &range, 1) == -EINVAL);
    CHECK(recorded_ranges(static_cast<hal_cache_op>(HAL_CACHE_OPS), &range, 1) == -EINVAL);
    CHECK(recorded_ranges(HAL_CACHE_FLUSH, nullptr, 1) == -EFAULT);
}

/* ---- strided arrays ---- */

namespace
{

struct Array {
    uintptr_t start;
    size_t itemsize;
    std::vector<ssize_t> shape, strides;
};

/* By the definition of strides, one element after the other. */
std::set<uintptr_t> touched(const Array &a, size_t line, size_t dimension, uintptr_t address)
{
    if (dimension == a.shape.size())
        return lines_of(address, a.itemsize, line);
    std::set<uintptr_t> lines;
    for (ssize_t i = 0; i < a.shape[dimension]; i++)
        lines.merge(touched(a, line, dimension + 1,
                            address + static_cast<uintptr_t>(i * a.strides[dimension])));
    return lines;
}

/* What slicing and transposing make of a contiguous array: x[a:b:c, ::-1].T and so on. */
Array random_slice()
{
    static const size_t itemsizes[] = {1, 2, 3, 4, 8, 16, 24, 64, 100, 200};
    Array a;
    size_t dimensions = random_below(5);
    ssize_t stride;

    a.itemsize = itemsizes[random_below(10)];
    a.start = base + random_below(512);
    stride = static_cast<ssize_t>(a.itemsize);
    for (size_t i = 0; i < dimensions; i++) {
        ssize_t length = 1 + static_cast<ssize_t>(random_below(dimensions > 2 ? 6 : 20));
        ssize_t step = 1 + static_cast<ssize_t>(random_below(4));
        ssize_t kept = (length + step - 1) / step;
        bool backwards = random_below(3) == 0;

        a.shape.push_back(kept);
        a.strides.push_back(backwards ? -stride * step : stride * step);
        if (backwards)
            a.start += static_cast<uintptr_t>((kept - 1) * stride * step);
        stride *= length;
    }
    for (size_t i = dimensions; i > 1; i--) { /* any order of the axes */
        size_t other = random_below(i);
        std::swap(a.shape[i - 1], a.shape[other]);
        std::swap(a.strides[i - 1], a.strides[other]);
    }
    return a;
}

int treat(enum hal_cache_op op, const Array &a)
{
    return recorded_strided(op, at(a.start), a.itemsize, a.shape.size(), a.shape.data(),
                            a.strides.data());
}

} // namespace

TEST_CASE("a strided array: the lines it touches, each once, and no others")
{
    for (uint32_t line : {32u, 64u, 128u}) {
        recorded_choose(features_for_recording(), line, Cpu().block, nullptr);
        cache_notes_clear();
        for (int i = 0; i < 700; i++) {
            Array a = random_slice();
            CAPTURE(i);
            CAPTURE(line);
            REQUIRE(treat(HAL_CACHE_SYNC, a) == 0);
            Trace t = trace();
            check_exactly_once(t, touched(a, line, 0, a.start));
            REQUIRE(t.fences == std::vector<std::string>{recorded_fence_full()});
            REQUIRE(t.fence_last);
        }
    }
}

TEST_CASE("a broadcast array is treated as what it shows again and again")
{
    recorded_choose(features_for_recording(), 64, Cpu().block, nullptr);
    cache_notes_clear();
    Array a = {base + 60, 8, {1000, 3}, {0, 8}};
    REQUIRE(treat(HAL_CACHE_PERSIST, a) == 0);
    check_exactly_once(trace(), touched(a, 64, 0, a.start));
}

TEST_CASE("a contiguous array is one range, whatever its shape")
{
    recorded_choose(features_for_recording(), 64, Cpu().block, nullptr);
    cache_notes_clear();
    Array a = {base + 4, 4, {3, 5, 7}, {140, 28, 4}};
    REQUIRE(treat(HAL_CACHE_FLUSH, a) == 0);
    Trace t = trace();
    check_exactly_once(t, lines_of(a.start, 420, 64));
    CHECK(t.ascending);
}

TEST_CASE("an array that overlaps itself: no line is missed, none is out of range")
{
    recorded_choose(features_for_recording(), 64, Cpu().block, nullptr);
    cache_notes_clear();
    for (int i = 0; i < 300; i++) {
        Array a = {base, 1 + random_below(100), {}, {}};
        for (size_t k = 0; k < 1 + random_below(3); k++) {
            a.shape.push_back(1 + static_cast<ssize_t>(random_below(8)));
            a.strides.push_back(static_cast<ssize_t>(random_below(600)) - 300);
        }
        a.start += 1 << 16;
        REQUIRE(treat(HAL_CACHE_FLUSH, a) == 0);
        std::set<uintptr_t> lines;
        for (const auto &[address, times] : trace().lines)
            lines.insert(address);
        REQUIRE(lines == touched(a, 64, 0, a.start));
    }
}

TEST_CASE("strided: what is refused")
{
    recorded_choose(features_for_recording(), 64, Cpu().block, nullptr);
    cache_notes_clear();
    std::vector<ssize_t> ones(HAL_CACHE_DIMENSIONS_MAX + 1, 1);
    const ssize_t none[] = {3, 0}, negative[] = {-1}, big[] = {SSIZE_MAX}, steps[] = {8, 8},
                  wide[] = {SSIZE_MAX}, back[] = {-SSIZE_MAX};

    for (size_t n : {HAL_CACHE_DIMENSIONS_MAX - 1, HAL_CACHE_DIMENSIONS_MAX})
        CHECK(recorded_strided(HAL_CACHE_FLUSH, at(base), 8, n, ones.data(), ones.data()) == 0);
    trace();
    CHECK(recorded_strided(HAL_CACHE_FLUSH, at(base), 8, HAL_CACHE_DIMENSIONS_MAX + 1, ones.data(),
                           ones.data()) == -E2BIG);
    CHECK(recorded_strided(HAL_CACHE_FLUSH, at(base), 8, 1, negative, steps) == -EINVAL);
    CHECK(recorded_strided(HAL_CACHE_FILL, at(base), 8, 1, ones.data(), steps) == -EINVAL);
    CHECK(recorded_strided(HAL_CACHE_FLUSH, at(base), 8, 1, nullptr, steps) == -EFAULT);
    CHECK(recorded_strided(HAL_CACHE_FLUSH, at(base), 8, 1, ones.data(), nullptr) == -EFAULT);
    CHECK(recorded_strided(HAL_CACHE_FLUSH, nullptr, 8, 0, nullptr, nullptr) == -EFAULT);
    CHECK(recorded_strided(HAL_CACHE_FLUSH, at(base), 8, 1, big, wide) == -EFAULT);
    CHECK(recorded_strided(HAL_CACHE_FLUSH, at(base), 8, 1, ones.data() + 1, back) == 0);
    trace();
    const ssize_t two[] = {3};
    CHECK(recorded_strided(HAL_CACHE_FLUSH, at(base), 8, 1, two, back) == -EFAULT);
    CHECK(recorded_strided(HAL_CACHE_FLUSH, nullptr, 8, 2, none, steps) == 0);
    CHECK(recorded_strided(HAL_CACHE_FLUSH, at(base), 0, 0, nullptr, nullptr) == 0);
    Trace t = trace();
    CHECK(t.lines.empty());
    CHECK(t.fences.empty());
}

/* ---- around the caches ---- */

TEST_CASE("copy and fill: right bytes, each line stored around or written back, one fence")
{
    Cpu cpu;
    const size_t room = 16384, guard = 512;
    std::vector<char> area(room + 2 * guard);
    std::vector<char> source(room + 64), expected;
    char *middle = area.data() + guard;

    for (char &c : source)
        c = static_cast<char>(random_source());
    for (const cache_method_facts &m : methods()) {
        if (!m.stores || (m.needs & ~cpu.features))
            continue;
        CAPTURE(m.name);
        recorded_choose(features_for_recording(), 64, cpu.block, m.name);
        cache_notes_clear();
        for (int i = 0; i < 400; i++) {
            bool fill = !(m.ops & 1u << HAL_CACHE_COPY) ||
                        (m.ops & 1u << HAL_CACHE_FILL && random_below(2));
            size_t offset = random_below(300);
            size_t len = 1 + random_below(i % 2 ? 700 : room - 400);
            size_t skew = random_below(64);
            char byte = i % 3 ? static_cast<char>(random_source()) : 0;
            char *dst = middle + offset;

            CAPTURE(offset);
            CAPTURE(len);
            area.assign(area.size(), 0x55);
            int result = fill ? recorded_fill(dst, byte, len)
                              : recorded_copy(dst, source.data() + skew, len);
            REQUIRE(result == 0);
            expected.assign(area.size(), 0x55);
            for (size_t k = 0; k < len; k++)
                expected[guard + offset + k] = fill ? byte : source[skew + k];
            REQUIRE((area == expected));

            Trace t = trace();
            std::set<uintptr_t> all = lines_of(reinterpret_cast<uintptr_t>(dst), len, 64), covered;
            for (const auto &[address, times] : t.lines)
                covered.insert(address);
            check_exactly_once(t, covered);
            for (const cache_note &s : t.stores) {
                std::set<uintptr_t> stored = lines_of(s.address, s.len, 64);
#ifdef __x86_64__ /* there, what is stored around the caches is not written back again */
                for (uintptr_t line : stored)
                    REQUIRE(covered.count(line) == 0);
#endif
                covered.merge(stored);
            }
            REQUIRE(covered == all);
            REQUIRE(t.fences == std::vector<std::string>{recorded_fence_store()});
            REQUIRE(t.fence_last);
        }
    }
}

#ifdef __x86_64__

namespace
{

/* MOVDIR64B for processors without: 66 [REX] 0F 38 F8 /r, from memory to the address in a register
 * (Intel SDM vol. 2). Anything else is a wrong choice, and ends the test. */
void movdir64b(int, siginfo_t *, void *context)
{
    static const int registers[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                      REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                      REG_R12, REG_R13, REG_R14, REG_R15};
    greg_t *r = static_cast<ucontext_t *>(context)->uc_mcontext.gregs;
    const auto *code = reinterpret_cast<const uint8_t *>(r[REG_RIP]);
    size_t at = 0;
    uint8_t rex = 0;

    if (code[at++] != 0x66)
        _exit(99);
    if ((code[at] & 0xf0) == 0x40)
        rex = code[at++];
    if (code[at] != 0x0f || code[at + 1] != 0x38 || code[at + 2] != 0xf8)
        _exit(99);
    uint8_t modrm = code[at + 3], base = modrm & 7, mod = modrm >> 6;
    greg_t displacement = 0;
    at += 4;
    if (base == 4) { /* R12 as a base takes one more byte */
        if ((code[at] >> 3 & 7) != 4 || rex & 2)
            _exit(98);
        base = code[at++] & 7;
    }
    if (mod > 1 || (mod == 0 && base == 5)) /* [register] and [register + byte] is all we write */
        _exit(98);
    if (mod == 1)
        displacement = static_cast<int8_t>(code[at++]);
    auto *dst = reinterpret_cast<char *>(r[registers[(modrm >> 3 & 7) | (rex & 4) << 1]]);
    auto *src = reinterpret_cast<const char *>(r[registers[base | (rex & 1) << 3]] + displacement);
    if (reinterpret_cast<uintptr_t>(dst) % 64) /* #GP */
        _exit(97);
    memcpy(dst, src, 64);
    r[REG_RIP] += static_cast<greg_t>(at);
}

} // namespace

TEST_CASE("copy and fill by MOVDIR64B, emulated where the processor lacks it")
{
    struct sigaction action = {}, before;
    uint32_t needs = 0;

    for (const auto &m : methods())
        if (std::string(m.name) == "movdir64b")
            needs = m.needs;
    REQUIRE(needs != 0);
    action.sa_sigaction = movdir64b;
    action.sa_flags = SA_SIGINFO;
    REQUIRE(sigaction(SIGILL, &action, &before) == 0);
    recorded_choose(features_for_recording() | needs, 64, 64, "movdir64b");
    std::vector<char> from(5000), to(5000), expected(5000);
    for (int i = 0; i < 100; i++) {
        size_t a = random_below(200), b = random_below(200), len = 256 + random_below(4000);
        for (char &c : from)
            c = static_cast<char>(random_source());
        expected = to;
        memcpy(expected.data() + a, from.data() + b, len);
        REQUIRE(recorded_copy(to.data() + a, from.data() + b, len) == 0);
        REQUIRE((to == expected));
        memset(expected.data() + b, i, len);
        REQUIRE(recorded_fill(to.data() + b, i, len) == 0);
        REQUIRE((to == expected));
        Trace t = trace();
        REQUIRE(!t.stores.empty());
        REQUIRE(std::string(t.stores[0].instruction) == "movdir64b");
    }
    sigaction(SIGILL, &before, nullptr);
}

#endif

TEST_CASE("copy and fill: what is refused")
{
    char memory[512] = {1};

    recorded_choose(features_for_recording(), 64, Cpu().block, nullptr);
    CHECK(recorded_copy(memory, memory + 100, 101) == -EINVAL);
    CHECK(recorded_copy(memory + 100, memory, 101) == -EINVAL);
    CHECK(recorded_copy(memory, memory, 1) == -EINVAL);
    CHECK(recorded_copy(memory, memory + 100, 100) == 0);
    CHECK(recorded_copy(nullptr, memory, 1) == -EFAULT);
    CHECK(recorded_copy(memory, nullptr, 1) == -EFAULT);
    CHECK(recorded_copy(memory, at(base), SIZE_MAX) == -EFAULT);
    CHECK(recorded_copy(nullptr, nullptr, 0) == 0);
    CHECK(recorded_fill(nullptr, 0, 1) == -EFAULT);
    CHECK(recorded_fill(nullptr, 0, 0) == 0);
    cache_notes_clear();
}

/* ---- choosing ---- */

TEST_CASE("any set of features: the first of the table that the processor has, never another")
{
    auto all = methods();
    uint32_t every = 0;

    for (const auto &m : all)
        every |= m.needs;
    for (uint32_t features = 0; features <= every; features++) {
        struct hal_cache_info info;

        recorded_choose(features, 64, 64, nullptr);
        REQUIRE(recorded_info(&info, sizeof(info)) == 0);
        REQUIRE(info.requested == nullptr);
        REQUIRE(info.refused == nullptr);
        for (int op = 0; op < HAL_CACHE_FENCE_STORE; op++) {
            const cache_method_facts *best = nullptr;
            std::string others;

            for (const auto &m : all) {
                if (!(m.ops & 1u << op) || (m.needs & ~features))
                    continue;
                if (!best)
                    best = &m;
                else
                    others += (others.empty() ? "" : " ") + std::string(m.name);
            }
            CAPTURE(features);
            CAPTURE(op);
            REQUIRE(info.choices[op].reason != nullptr);
            REQUIRE(
                std::string(info.choices[op].instruction ? info.choices[op].instruction : "none") ==
                (best ? best->name : "none"));
            REQUIRE(std::string(info.choices[op].alternatives) == others);
        }
    }
}

TEST_CASE("HAL_CACHE: what is there is used, what is not is refused and named")
{
    auto all = methods();
    uint32_t every = 0;

    for (const auto &m : all)
        every |= m.needs;
    for (const auto &m : all) {
        struct hal_cache_info info;

        CAPTURE(m.name);
        recorded_choose(every, 64, 64, m.name);
        REQUIRE(recorded_info(&info, sizeof(info)) == 0);
        CHECK(std::string(info.requested) == m.name);
        CHECK(info.refused == nullptr);
        for (int op = 0; op < HAL_CACHE_FENCE_STORE; op++)
            if (m.ops & 1u << op) {
                CHECK(std::string(info.choices[op].instruction) == m.name);
                CHECK(std::string(info.choices[op].reason) == "asked for by HAL_CACHE");
            }
        if (!m.needs)
            continue;
        recorded_choose(every & ~m.needs, 64, 64, m.name);
        REQUIRE(recorded_info(&info, sizeof(info)) == 0);
        REQUIRE(info.refused != nullptr);
        CHECK(std::string(info.refused).find(m.name) == 0);
        for (const auto &choice : info.choices)
            CHECK((!choice.instruction || std::string(choice.instruction) != m.name));
    }
}

TEST_CASE("HAL_CACHE: lists, unknown names, none")
{
    struct hal_cache_info info;
    auto all = methods();
    std::string first = all[0].name, store, list;

    for (const auto &m : all)
        if (m.stores && !m.needs)
            store = m.name;
    list = "," + store + ",,frobnicate," + std::string(60, 'x');
    recorded_choose(0, 64, 64, list.c_str());
    REQUIRE(recorded_info(&info, sizeof(info)) == 0);
    REQUIRE(info.refused != nullptr);
    CHECK(std::string(info.refused).find("frobnicate: no instruction") == 0);
    CHECK(std::string(info.requested).size() < 64);

    recorded_choose(0, 64, 64, "");
    REQUIRE(recorded_info(&info, sizeof(info)) == 0);
    CHECK(info.requested == nullptr);

    recorded_choose(features_for_recording(), 64, Cpu().block, "none");
    cache_notes_clear();
    for (const Form &form : forms()) {
        CAPTURE(form.name);
        CHECK(form.run(at(base), 4096) == -EOPNOTSUPP);
        CHECK(std::string(hal_last_error()).find("HAL_CACHE asks for none") != std::string::npos);
        Trace t = trace();
        CHECK(t.lines.empty());
        CHECK(t.fences == std::vector<std::string>{recorded_fence_full()});
    }
    iovec range = {at(base), 100};
    CHECK(recorded_ranges(HAL_CACHE_SYNC, &range, 1) == -EOPNOTSUPP);
    CHECK(recorded_strided(HAL_CACHE_SYNC, at(base), 4, 0, nullptr, nullptr) == -EOPNOTSUPP);
    char from[600] = {7}, to[600] = {0};
    CHECK(recorded_copy(to, from, sizeof(to)) == -EOPNOTSUPP);
    CHECK(memcmp(to, from, sizeof(to)) == 0);
    cache_notes_clear();
}

TEST_CASE("persisting with less than was asked for says so")
{
    for (const auto &m : methods()) {
        if (!m.weak)
            continue;
        CAPTURE(m.name);
        recorded_choose(features_for_recording(), 64, 64, m.name);
        cache_notes_clear();
        CHECK(recorded_persist(at(base), 100) == -EOPNOTSUPP);
        Trace t = trace();
        check_exactly_once(t, lines_of(base, 100, 64));
        CHECK(t.fence_last);
        CHECK(recorded_writeback(at(base), 100) == 0);
    }
    cache_notes_clear();
}

/* ---- the real thing ---- */

TEST_CASE("real: operations on real memory keep its content")
{
    const size_t size = 1 << 20;
    std::vector<char> memory(size), before;

    for (char &c : memory)
        c = static_cast<char>(random_source());
    before = memory;
    for (int i = 0; i < 200; i++) {
        size_t start = random_below(size), len = random_below(size - start);
        const char *p = memory.data() + start;

        CHECK(hal_cache_writeback(p, len) == (has(HAL_CACHE_WRITEBACK) || !len ? 0 : -EOPNOTSUPP));
        hal_fence_store();
        CHECK(hal_cache_flush(p, len) == (has(HAL_CACHE_FLUSH) || !len ? 0 : -EOPNOTSUPP));
        hal_fence_load();
        hal_fence_full();
        CHECK(hal_cxl_sync(p, len) == (has(HAL_CACHE_SYNC) || !len ? 0 : -EOPNOTSUPP));
        CHECK(hal_cache_invalidate(p, len) ==
              (has(HAL_CACHE_INVALIDATE) || !len ? 0 : -EOPNOTSUPP));
        hal_fence_full();
        hal_prefetch_read(p, len < 4096 ? len : 4096);
        hal_prefetch_write(p, len < 4096 ? len : 4096);
    }
    hal_prefetch_read(nullptr, 4096);
    CHECK(memory == before);
}

TEST_CASE("real: persist, copy and fill")
{
    if (persist_traps())
        return;
    std::vector<char> from(100000), to(100000);

    for (char &c : from)
        c = static_cast<char>(random_source());
    int result = hal_cache_persist(to.data() + 1, 5000);
    CHECK((result == 0 || result == -EOPNOTSUPP));
    for (int i = 0; i < 100; i++) {
        size_t a = random_below(1000), b = random_below(1000), len = random_below(99000);
        CHECK(hal_copy_nt(to.data() + a, from.data() + b, len) == (len ? result : 0));
        CHECK(memcmp(to.data() + a, from.data() + b, len) == 0);
        CHECK(hal_fill_nt(to.data() + a, i, len) == (len ? result : 0));
        CHECK(to == [&] {
            std::vector<char> expected = to;
            std::fill(expected.begin() + static_cast<long>(a),
                      expected.begin() + static_cast<long>(a + len), static_cast<char>(i));
            return expected;
        }());
    }
}

TEST_CASE("real: a copy large enough to fetch ahead stays within its source")
{
    if (persist_traps())
        return;
    const size_t ahead = size_t{2} << 20, most = ahead + 8192;
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void *area =
        mmap(nullptr, most + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(area != MAP_FAILED);
    char *end = static_cast<char *>(area) + most;
    REQUIRE(mprotect(end, page, PROT_NONE) == 0);
    for (char *c = static_cast<char *>(area); c < end; c += sizeof(uint64_t)) {
        uint64_t word = random_source();
        memcpy(c, &word, sizeof(word));
    }
    for (size_t len : {ahead - 1, ahead, ahead + 1, ahead + 64, ahead + 4096, ahead + 4097, most}) {
        for (size_t start : {size_t{0}, size_t{1}, size_t{63}}) {
            std::vector<char> to(len + 130, '\x55');
            char *dst = to.data() + start;

            CAPTURE(len);
            CAPTURE(start);
            CHECK(hal_copy_nt(dst, end - len, len) != -EINVAL);
            CHECK(memcmp(dst, end - len, len) == 0);
            CHECK(std::all_of(to.data(), dst, [](char c) { return c == '\x55'; }));
            CHECK(
                std::all_of(dst + len, to.data() + to.size(), [](char c) { return c == '\x55'; }));
        }
    }
    munmap(area, most + page);
}

TEST_CASE("real: errors are worded")
{
    CHECK(hal_cxl_sync(nullptr, 8) == -EFAULT);
    CHECK(std::string(hal_last_error()) == "sync \"memory\": the address is NULL");
    CHECK(hal_cache_flush(at(base), SIZE_MAX) == -EFAULT);
    CHECK(std::string(hal_last_error()).find("reach beyond the address space") !=
          std::string::npos);
    CHECK(hal_cache_ranges(HAL_CACHE_FILL, nullptr, 0) == -EINVAL);
    CHECK(std::string(hal_last_error()).find("number 8 is not an operation on ranges") !=
          std::string::npos);
}

TEST_CASE("real: info")
{
    struct hal_cache_info info;

    CHECK(hal_cache_info(nullptr, sizeof(info)) == -EFAULT);
    CHECK(hal_cache_info(&info, 0) == -EINVAL);
    REQUIRE(hal_cache_info(&info, sizeof(info)) == 0);
    CHECK(info.line == hal_cache_line());
    CHECK((info.line & (info.line - 1)) == 0);
    CHECK(info.line >= 16);
    for (int op = 0; op < HAL_CACHE_OPS; op++) {
        CAPTURE(op);
        CHECK(hal_cache_op_name(static_cast<hal_cache_op>(op)) != nullptr);
        CHECK(info.choices[op].reason != nullptr);
    }
    CHECK(hal_cache_op_name(static_cast<hal_cache_op>(HAL_CACHE_OPS)) == nullptr);
    CHECK(hal_cache_op_name(static_cast<hal_cache_op>(-1)) == nullptr);

    struct {
        struct hal_cache_info info;
        char more[64];
    } longer;
    memset(&longer, 0x77, sizeof(longer));
    REQUIRE(hal_cache_info(&longer.info, sizeof(longer)) == 0); /* a newer program */
    CHECK(longer.more[63] == 0);
    memset(&longer, 0x77, sizeof(longer));
    REQUIRE(hal_cache_info(&longer.info, 8) == 0); /* an older one */
    CHECK(longer.info.architecture == info.architecture);
    CHECK(reinterpret_cast<char *>(&longer)[8] == 0x77);
}

TEST_CASE("real: measure")
{
    hal_cache_cost cost;

    CHECK(hal_cache_measure(nullptr, sizeof(cost)) == -EFAULT);
    CHECK(hal_cache_measure(&cost, 0) == -EINVAL);
    if (persist_traps())
        return;
    REQUIRE(hal_cache_measure(&cost, sizeof(cost)) == 0);
    CHECK(cost.read_block_ns > 0);
    for (int op = 0; op < HAL_CACHE_OPS; op++) {
        bool fence = op >= HAL_CACHE_FENCE_STORE;
        CAPTURE(op);
        if (fence || has(static_cast<hal_cache_op>(op)))
            CHECK((cost.line_ns[op] > 0 || op == HAL_CACHE_PERSIST || op == HAL_CACHE_COPY ||
                   op == HAL_CACHE_FILL));
        CHECK((cost.block_ns[op] > 0) == (cost.line_ns[op] > 0 && !fence));
    }
}

/* ---- mappings ---- */

namespace
{

hal_mapping_facts facts_of(const void *p, size_t len)
{
    hal_mapping_facts facts;

    REQUIRE(hal_cache_query(p, len, &facts, sizeof(facts)) == 0);
    CHECK(facts.reason[0] != 0);
    return facts;
}

} // namespace

TEST_CASE("query: ordinary memory")
{
    int on_stack = 0;
    std::vector<char> on_heap(1 << 20);
    long page = sysconf(_SC_PAGESIZE);

    CHECK(facts_of(&on_stack, sizeof(on_stack)).kind == HAL_MEMORY_ORDINARY);
    hal_mapping_facts heap = facts_of(on_heap.data(), on_heap.size());
    CHECK(heap.kind == HAL_MEMORY_ORDINARY);
    CHECK(heap.flush == HAL_FLUSH_NOT_NEEDED);
    CHECK(heap.start <= reinterpret_cast<uintptr_t>(on_heap.data()));
    CHECK(heap.end >= reinterpret_cast<uintptr_t>(on_heap.data()) + on_heap.size());
    CHECK((heap.flags & HAL_MAPPING_SHARED) == 0);

    int fd = memfd_create("cache-test", MFD_CLOEXEC);
    REQUIRE(fd >= 0);
    REQUIRE(ftruncate(fd, page) == 0);
    void *shared = mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(shared != MAP_FAILED);
    hal_mapping_facts memfd = facts_of(shared, page);
    CHECK(memfd.kind == HAL_MEMORY_ORDINARY);
    CHECK(memfd.flags == HAL_MAPPING_SHARED);
    CHECK(std::string(memfd.path).find("memfd:cache-test") != std::string::npos);
    munmap(shared, page);
    close(fd);
}

TEST_CASE("query: a file in the page cache")
{
    char name[] = "/tmp/hal-cache-XXXXXX";
    int fd = mkstemp(name);
    long page = sysconf(_SC_PAGESIZE);

    REQUIRE(fd >= 0);
    REQUIRE(ftruncate(fd, 2 * page) == 0);
    void *p = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(p != MAP_FAILED);
    hal_mapping_facts facts = facts_of(static_cast<char *>(p) + 10, page);
    CHECK(facts.kind == HAL_MEMORY_ORDINARY);
    CHECK(facts.flush == HAL_FLUSH_NOT_NEEDED);
    CHECK(std::string(facts.path) == name);
    CHECK(std::string(facts.reason).find("fsync") != std::string::npos);

    /* half of it made read-only: two mappings, one answer */
    REQUIRE(mprotect(p, page, PROT_READ) == 0);
    facts = facts_of(p, 2 * page);
    CHECK(facts.kind == HAL_MEMORY_ORDINARY);
    CHECK(facts.end - facts.start >= 2u * static_cast<unsigned long>(page));
    munmap(p, 2 * page);
    close(fd);
    unlink(name);
}

TEST_CASE("query: what is not mapped, and wrong arguments")
{
    hal_mapping_facts facts;
    long page = sysconf(_SC_PAGESIZE);
    char *p =
        static_cast<char *>(mmap(nullptr, 3 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(p != MAP_FAILED);
    REQUIRE(munmap(p + page, page) == 0);

    CHECK(hal_cache_query(p, page, &facts, sizeof(facts)) == 0);
    CHECK(hal_cache_query(p, page + 1, &facts, sizeof(facts)) == -EFAULT);
    CHECK(std::string(hal_last_error()).find("is not mapped") != std::string::npos);
    CHECK(hal_cache_query(p + page, 1, &facts, sizeof(facts)) == -EFAULT);
    CHECK(hal_cache_query(p + 2 * page, 0, &facts, sizeof(facts)) == 0);
    CHECK(hal_cache_query(nullptr, 1, &facts, sizeof(facts)) == -EFAULT);
    CHECK(hal_cache_query(p, SIZE_MAX, &facts, sizeof(facts)) == -EFAULT);
    CHECK(hal_cache_query(p, 1, nullptr, sizeof(facts)) == -EFAULT);
    CHECK(hal_cache_query(p, 1, &facts, 0) == -EINVAL);
    munmap(p, page);
    munmap(p + 2 * page, page);
    CHECK(std::string(hal_memory_kind_name(HAL_MEMORY_WRITE_COMBINING)) == "write-combining");
    CHECK(std::string(hal_memory_kind_name(static_cast<hal_memory_kind>(99))) == "unknown");
}

/* ---- mappings of devices that nobody here has ---- */

namespace
{

namespace fs = std::filesystem;

/* A /proc and /sys of files. Its character devices are links to /dev/null (1:3), since making a
 * node takes root. The addresses are made up; nothing is mapped there. */
class Machine
{
  public:
    Machine()
    {
        char name[] = "/tmp/hal-cache-XXXXXX";
        REQUIRE(mkdtemp(name) != nullptr);
        root = name;
        write("/proc/self/maps", "");
        write("/proc/self/smaps", "");
    }
    ~Machine()
    {
        fs::remove_all(root);
    }

    void write(const std::string &path, const std::string &text, bool append = false)
    {
        fs::create_directories(fs::path(root + path).parent_path());
        std::ofstream(root + path, append ? std::ios::app : std::ios::trunc) << text;
    }

    /* Map a page at `start`. */
    void map(uintptr_t start, const std::string &path, const std::string &permissions,
             const std::string &flags)
    {
        char line[512];
        snprintf(line, sizeof(line), "%lx-%lx %s 00000000 103:05 42 %s%s\n",
                 static_cast<unsigned long>(start), static_cast<unsigned long>(start + 4096),
                 permissions.c_str(), std::string(20, ' ').c_str(), path.c_str());
        write("/proc/self/maps", line, true);
        write("/proc/self/smaps",
              line + std::string("Size: 4 kB\nAnonHugePages: 0 kB\nVmFlags: ") + flags + " \n",
              true);
    }

    void character_device(const std::string &node, const std::string &sysfs)
    {
        fs::create_directories(fs::path(root + node).parent_path());
        fs::create_symlink("/dev/null", root + node);
        device("char", "1:3", sysfs);
    }

    void device(const std::string &type, const std::string &number, const std::string &sysfs)
    {
        fs::create_directories(root + "/sys/dev/" + type);
        fs::create_directories(root + "/sys" + sysfs);
        fs::create_symlink("../.." + sysfs, root + "/sys/dev/" + type + "/" + number);
    }

    void bus(const std::string &sysfs, const std::string &name)
    {
        fs::create_directories(root + "/sys" + sysfs);
        fs::create_directories(root + "/sys/bus/" + name);
        fs::create_symlink(root + "/sys/bus/" + name, root + "/sys" + sysfs + "/subsystem");
    }

    hal_mapping_facts ask(uintptr_t start, size_t len = 1)
    {
        hal_mapping_facts facts;
        REQUIRE(recorded_query(root.c_str(), start, start + len, &facts) == 0);
        return facts;
    }

    std::string root;
};

const uintptr_t page_at = 0x10000;
const std::string nvdimm = "/devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0012:00/ndbus0/region1";

} // namespace

TEST_CASE("query: the region's persistence domain decides")
{
    const struct {
        const char *domain;
        enum hal_flush_need flush;
    } rows[] = {{"cpu_cache\n", HAL_FLUSH_NOT_NEEDED},
                {"memory_controller\n", HAL_FLUSH_NEEDED},
                {"\n", HAL_FLUSH_NEEDED},
                {"unknown\n", HAL_FLUSH_NEEDED}};

    for (const auto &row : rows) {
        Machine dax, file;

        CAPTURE(row.domain);
        dax.character_device("/dev/dax1.0", nvdimm + "/dax1.0/dax1.0");
        dax.write("/sys" + nvdimm + "/persistence_domain", row.domain);
        dax.map(page_at, "/dev/dax1.0", "rw-s", "rd wr sh mr mw me ms mm hg");
        hal_mapping_facts facts = dax.ask(page_at);
        CHECK(facts.kind == HAL_MEMORY_PERSISTENT);
        CHECK(facts.flush == row.flush);
        CHECK(std::string(facts.device) == "dax1.0");
        CHECK(std::string(facts.domain) + "\n" == row.domain);

        file.device("block", "259:5", nvdimm + "/pfn1.0/block/pmem1/pmem1p1");
        file.write("/sys" + nvdimm + "/persistence_domain", row.domain);
        file.write("/mnt/file", "");
        file.map(page_at, "/mnt/file", "rw-s", "rd wr sh mr mw me ms sf mm hg");
        facts = file.ask(page_at);
        CHECK(facts.kind == HAL_MEMORY_PERSISTENT);
        CHECK(facts.flush == row.flush);
        CHECK(facts.flags == (HAL_MAPPING_SHARED | HAL_MAPPING_SYNC | HAL_MAPPING_DAX));
        CHECK(std::string(facts.device) == "pmem1p1");
    }
}

TEST_CASE("query: devdax that is not an nvdimm")
{
    const std::string cxl = "/devices/platform/ACPI0017:00/root0/decoder0.0/region0";
    Machine volatile_cxl, hmem, bare, hidden;

    volatile_cxl.character_device("/dev/dax0.0", cxl + "/dax_region0/dax0.0");
    volatile_cxl.bus(cxl, "cxl");
    volatile_cxl.map(page_at, "/dev/dax0.0", "rw-s", "rd wr sh mm");
    hal_mapping_facts facts = volatile_cxl.ask(page_at);
    CHECK(facts.kind == HAL_MEMORY_CXL);
    CHECK(facts.flush == HAL_FLUSH_UNKNOWN);
    CHECK(std::string(facts.reason).find("another host") != std::string::npos);

    hmem.character_device("/dev/dax0.0", "/devices/platform/hmem.0/dax0.0");
    hmem.map(page_at, "/dev/dax0.0", "rw-s", "rd wr sh mm");
    CHECK(hmem.ask(page_at).kind == HAL_MEMORY_ORDINARY);

    bare.character_device("/dev/dax0.0", "/devices/somewhere/dax0.0");
    bare.map(page_at, "/dev/dax0.0", "rw-s", "rd wr sh mm");
    CHECK(bare.ask(page_at).flush == HAL_FLUSH_UNKNOWN);

    fs::create_directories(hidden.root + "/dev"); /* no /sys: a container, perhaps */
    fs::create_symlink("/dev/null", hidden.root + "/dev/dax0.0");
    hidden.map(page_at, "/dev/dax0.0", "rw-s", "rd wr sh mm");
    facts = hidden.ask(page_at);
    CHECK(facts.flush == HAL_FLUSH_UNKNOWN);
    CHECK(facts.device[0] == 0);
}

TEST_CASE("query: device memory")
{
    const struct {
        const char *node, *flags;
        enum hal_memory_kind kind;
        enum hal_flush_need flush;
    } rows[] = {
        {"/dev/uio0", "rd wr sh io pf dd", HAL_MEMORY_UNCACHED, HAL_FLUSH_NOT_NEEDED},
        {"/dev/uio0", "rd wr sh dd", HAL_MEMORY_UNKNOWN, HAL_FLUSH_UNKNOWN},
        {"/dev/vfio/devices/vfio0", "rd wr sh io pf", HAL_MEMORY_UNCACHED, HAL_FLUSH_NOT_NEEDED},
        {"/dev/mem", "rd wr sh io pf", HAL_MEMORY_UNKNOWN, HAL_FLUSH_UNKNOWN},
        {"/dev/dri/card0", "rd wr sh io pf", HAL_MEMORY_UNKNOWN, HAL_FLUSH_UNKNOWN},
        {"/dev/video0", "rd wr sh", HAL_MEMORY_UNKNOWN, HAL_FLUSH_UNKNOWN},
        {"/dev/zero", "rd wr sh", HAL_MEMORY_ORDINARY, HAL_FLUSH_NOT_NEEDED}};

    for (const auto &row : rows) {
        Machine machine;

        CAPTURE(row.node);
        machine.character_device(row.node, "/devices/x/y");
        machine.map(page_at - 4096, "[heap]", "rw-p", "rd wr io pf sf"); /* not ours */
        machine.map(page_at, row.node, "rw-s", row.flags);
        hal_mapping_facts facts = machine.ask(page_at);
        CHECK(facts.kind == row.kind);
        CHECK(facts.flush == row.flush);
        bool io = strstr(row.flags, " io ") != nullptr;
        CHECK(((facts.flags & HAL_MAPPING_IO) != 0) == io);
    }
    Machine vfio;
    vfio.map(page_at, "anon_inode:[vfio-device]", "rw-s", "rd wr sh io pf");
    CHECK(vfio.ask(page_at).kind == HAL_MEMORY_UNCACHED);
    Machine kernel;
    kernel.map(page_at, "[vvar]", "r--p", "rd mr pf io de dd");
    CHECK(kernel.ask(page_at).kind == HAL_MEMORY_UNKNOWN);
}

TEST_CASE("query: ranges over several mappings")
{
    Machine machine;
    const std::string bar = "/sys/devices/pci0000:00/0000:00:04.0/resource2";

    machine.map(page_at, bar, "rw-s", "rd wr sh io pf");
    machine.map(page_at + 4096, bar, "rw-s", "rd wr sh io pf");
    machine.map(page_at + 8192, bar + "_wc", "rw-s", "rd wr sh io pf");
    machine.map(page_at + 16384, "", "rw-p", "rd wr");
    hal_mapping_facts facts = machine.ask(page_at + 5, 8000);
    CHECK(facts.kind == HAL_MEMORY_UNCACHED);
    CHECK(facts.start == page_at);
    CHECK(facts.end == page_at + 8192);
    CHECK(std::string(facts.device) == "0000:00:04.0");
    facts = machine.ask(page_at, 8193);
    CHECK(facts.kind == HAL_MEMORY_UNKNOWN);
    CHECK(std::string(facts.reason).find("different kinds") != std::string::npos);
    CHECK(machine.ask(page_at + 8192, 4096).kind == HAL_MEMORY_WRITE_COMBINING);
    CHECK(recorded_query(machine.root.c_str(), page_at, page_at + 12289, &facts) == -EFAULT);
    CHECK(recorded_query(machine.root.c_str(), page_at - 1, page_at, &facts) == -EFAULT);
    CHECK(machine.ask(page_at + 16384 + 4095).kind == HAL_MEMORY_ORDINARY);

    machine.write("/proc/self/maps", "not a line of maps\n");
    CHECK(recorded_query(machine.root.c_str(), page_at, page_at + 1, &facts) == -EFAULT);
    fs::remove_all(machine.root + "/proc");
    CHECK(recorded_query(machine.root.c_str(), page_at, page_at + 1, &facts) == -ENOENT);
}
