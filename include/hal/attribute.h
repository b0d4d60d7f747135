/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/attribute.h
 * @brief Typed properties of a device: what they are called, mean, may hold, and are.
 *
 * An attribute with HAL_ATTR_OPEN may also be given in the URI ("?baud=115200"). Those that are
 * writable too are set by the library, in the order of the driver's table, right after `init`;
 * the others are read by `init` itself through hal_device_option().
 */
#ifndef HAL_ATTRIBUTE_H
#define HAL_ATTRIBUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hal/deadline.h>
#include <hal/device.h>
#include <hal/export.h>

HAL_BEGIN_DECLS

struct hal_device;

/** Longest text value in bytes, the terminating NUL included. */
#define HAL_TEXT_MAX 256

enum hal_type {
    HAL_TYPE_BOOL = 1, /**< hal_value.b; as text "true"/"false", also 1/0, on/off, yes/no */
    HAL_TYPE_INT,      /**< hal_value.i; as text decimal, or 0x.. hexadecimal             */
    HAL_TYPE_FLOAT,    /**< hal_value.f; as text as strtod(3) reads it, '.' in any locale */
    HAL_TYPE_TEXT,     /**< hal_value.s                                                   */
    HAL_TYPE_CHOICE    /**< hal_value.s; one of the attribute's choices                   */
};

/* In text, a number may be followed by the attribute's unit, with a prefix of the SI ("5ms",
 * "10MHz", "1.5kHz"; for "B" also Ki, Mi, Gi), and one without unit by '%' ("1%" is 0.01). */

/** A value and its type. Text is held inside: a value is copied by assignment, never freed. */
struct hal_value {
    enum hal_type type;
    union {
        bool b;
        int64_t i;
        double f;
        char s[HAL_TEXT_MAX];
    };
};

enum hal_access {
    HAL_ATTR_READ = 1,
    HAL_ATTR_WRITE = 2,
    HAL_ATTR_OPEN = 4 /**< may be given in the URI */
};

/**
 * @brief What a driver says about one attribute: a row of a table that is normally static const.
 *
 * The table must stay as it is while the driver is registered (or, for hal_device_set_attributes(),
 * while the device is open).
 */
struct hal_attribute {
    const char *name; /**< formed as a driver name; '.' groups: "errors.frame" */
    const char *unit; /**< SI symbol ("Hz", "s", "V"), "B" for bytes, "baud"; NULL: none */
    const char *doc;  /**< one sentence */
    enum hal_type type;
    uint32_t access; /**< HAL_ATTR_... or-ed */
    double min;      /**< smallest and largest INT or FLOAT; both 0: the type's own limits */
    double max;
    const char *const *choices; /**< for CHOICE: ended by NULL */
    /** Value when the URI does not give it, as text; NULL: none. `init` establishes it (it gets it
     *  from hal_device_option()); the library calls `set` only for what the URI gives. */
    const char *initial;
    /** Fetch the value into @p out (type is already set). 0 or negative errno. */
    int (*get)(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out);
    /** Apply @p value, already checked against type, range and choices. 0 or negative errno. */
    int (*set)(struct hal_device *dev, const struct hal_attribute *attr,
               const struct hal_value *value);
    int64_t tag; /**< the driver's own, so that one get or set can serve many attributes */
    void *reserved[2];
};

/**
 * @brief The number of attributes of an open device.
 * @return Count, or a negative errno: -EBADF, -ESTALE. Any thread.
 */
HAL_API long hal_attribute_count(hal_handle dev);

/**
 * @brief Describe one attribute.
 * @param dev    The device.
 * @param index  0 .. hal_attribute_count() - 1.
 * @param out    Set to the driver's row. It belongs to the driver; it is valid until the device is
 *               closed. Do not call its functions: use hal_get() and hal_set().
 * @return 0, -ERANGE (index), -EBADF, -ESTALE, -EFAULT. Any thread.
 */
HAL_API int hal_attribute_at(hal_handle dev, size_t index, const struct hal_attribute **out);

/**
 * @brief Read an attribute.
 * @param dev    The device.
 * @param name   The attribute's name.
 * @param out    The value and its type.
 * @param until  Bounds the wait for a slow or remote device, and for other control calls.
 * @return 0; -ENOENT (no such attribute; the message lists what there is), -EACCES (write-only),
 *         -EFAULT, or what the driver says. Any thread; control calls of one device are run one at
 *         a time, beside at most one read and one write.
 */
HAL_API int hal_get(hal_handle dev, const char *name, struct hal_value *out, hal_deadline until);

/**
 * @brief Change an attribute.
 * @param dev    The device.
 * @param name   The attribute's name.
 * @param value  An INT is taken for a FLOAT, and TEXT for anything that it can be parsed as.
 * @param until  As for hal_get().
 * @return 0; -ENOENT, -EACCES (read-only), -ERANGE (outside min..max), -EINVAL (wrong type, or not
 *         one of the choices; the message lists them), -EFAULT, or what the driver says.
 */
HAL_API int hal_set(hal_handle dev, const char *name, const struct hal_value *value,
                    hal_deadline until);

/** @brief hal_get() for an INT or BOOL attribute; -EINVAL when it is of another type. */
HAL_API int hal_get_int(hal_handle dev, const char *name, int64_t *out, hal_deadline until);

/** @brief hal_set() with an INT. */
HAL_API int hal_set_int(hal_handle dev, const char *name, int64_t value, hal_deadline until);

/**
 * @brief hal_get() as text, whatever the type.
 * @return Length without the NUL, -ENAMETOOLONG when @p size is too small, else as hal_get().
 */
HAL_API long hal_get_text(hal_handle dev, const char *name, char *out, size_t size,
                          hal_deadline until);

/** @brief hal_set() from text, read as in a URI. */
HAL_API int hal_set_text(hal_handle dev, const char *name, const char *text, hal_deadline until);

/**
 * @brief Read @p text as a value of @p attr, with all its checks.
 * @return 0, -EINVAL, -ERANGE, -ENAMETOOLONG, -EFAULT. Any thread.
 */
HAL_API int hal_value_parse(const struct hal_attribute *attr, const char *text,
                            struct hal_value *out);

/**
 * @brief Write @p value as text that hal_value_parse() reads back.
 * @return Length without the NUL, or -ENAMETOOLONG, -EINVAL (unknown type), -EFAULT. Any thread.
 */
HAL_API long hal_value_format(const struct hal_value *value, char *out, size_t size);

HAL_END_DECLS

#endif
