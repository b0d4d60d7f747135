/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A module parameter "log": one line for everything that happened on the bus since it was cleared.
 * Reading gives the text; writing anything clears it.  When it is full it says so and stops.
 */
#ifndef LAB_LOG_H
#define LAB_LOG_H

#include <linux/module.h>
#include <linux/mutex.h>

#define LAB_LOG_SIZE 3840 /* a parameter shows at most one page */
#define LAB_LOG_FULL "log full\n"

static DEFINE_MUTEX(lab_log_lock);
static char lab_log_text[LAB_LOG_SIZE + sizeof(LAB_LOG_FULL)];
static size_t lab_log_used;

static __printf(1, 2) void lab_log(const char *format, ...)
{
    va_list args;
    int n;

    mutex_lock(&lab_log_lock);
    if (lab_log_used < LAB_LOG_SIZE) {
        va_start(args, format);
        n = vsnprintf(lab_log_text + lab_log_used, LAB_LOG_SIZE - lab_log_used, format, args);
        va_end(args);
        if (lab_log_used + n < LAB_LOG_SIZE) {
            lab_log_used += n;
        } else {
            strscpy(lab_log_text + lab_log_used, LAB_LOG_FULL, sizeof(LAB_LOG_FULL));
            lab_log_used = LAB_LOG_SIZE;
        }
    }
    mutex_unlock(&lab_log_lock);
}

static int lab_log_get(char *buffer, const struct kernel_param *param)
{
    int n;

    mutex_lock(&lab_log_lock);
    n = scnprintf(buffer, PAGE_SIZE, "%s", lab_log_text);
    mutex_unlock(&lab_log_lock);
    return n;
}

static int lab_log_clear(const char *value, const struct kernel_param *param)
{
    mutex_lock(&lab_log_lock);
    lab_log_used = 0;
    lab_log_text[0] = '\0';
    mutex_unlock(&lab_log_lock);
    return 0;
}

static const struct kernel_param_ops lab_log_ops = {.get = lab_log_get, .set = lab_log_clear};
module_param_cb(log, &lab_log_ops, NULL, 0644);

#endif
