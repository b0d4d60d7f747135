/* SPDX-License-Identifier: Apache-2.0 */
/* perf_event_open(2), which C libraries have no function for. */
#include <errno.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "perf.h"

static struct perf_event_attr event(uint32_t type, const uint64_t config[3])
{
    return (struct perf_event_attr){
        .type = type,
        .size = sizeof(struct perf_event_attr),
        .config = config[0],
        .config1 = config[1],
        .config2 = config[2],
    };
}

static int open_event(struct perf_event_attr *attr, int pid, int cpu)
{
    int fd = (int)syscall(SYS_perf_event_open, attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int perf_open_counter(uint32_t type, const uint64_t config[3], int cpu)
{
    struct perf_event_attr attr = event(type, config);

    attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
    if (cpu < 0) {
        attr.inherit = 1;
        attr.exclude_kernel = 1;
        attr.exclude_hv = 1;
    }
    return open_event(&attr, cpu < 0 ? 0 : -1, cpu);
}

int perf_open_samples(uint32_t type, const uint64_t config[3], uint64_t period)
{
    struct perf_event_attr attr = event(type, config);

    attr.sample_period = period;
    attr.sample_type = PERF_SAMPLE_WEIGHT | PERF_SAMPLE_DATA_SRC;
    attr.disabled = 1;
    attr.exclude_kernel = 1;
    attr.exclude_hv = 1;
    attr.precise_ip = type == PERF_TYPE_SOFTWARE ? 0 : 2; /* the address of the load itself */
    return open_event(&attr, 0, -1);
}
