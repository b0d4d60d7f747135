/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the kernel's interface to /dev/iommu (Linux 6.2) and to VFIO's device nodes (6.6)
 * that is used here, for build machines whose headers are older.
 * Source: Documentation/userspace-api/iommufd.rst, include/uapi/linux/vfio.h. */
#ifndef VFIO_IOMMUFD_H
#define VFIO_IOMMUFD_H

#include <linux/types.h>
#include <linux/vfio.h>

#if defined(__has_include) && __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#else

struct iommu_ioas_alloc {
    __u32 size, flags, out_ioas_id;
};

struct iommu_iova_range {
    __aligned_u64 start, last;
};

struct iommu_ioas_iova_ranges {
    __u32 size, ioas_id, num_iovas, __reserved;
    __aligned_u64 allowed_iovas, out_iova_alignment;
};

struct iommu_ioas_map {
    __u32 size, flags, ioas_id, __reserved;
    __aligned_u64 user_va, length, iova;
};

struct iommu_ioas_unmap {
    __u32 size, ioas_id;
    __aligned_u64 iova, length;
};

enum { IOMMU_IOAS_MAP_FIXED_IOVA = 1, IOMMU_IOAS_MAP_WRITEABLE = 2, IOMMU_IOAS_MAP_READABLE = 4 };

#define IOMMU_IOAS_ALLOC _IO(';', 0x81)
#define IOMMU_IOAS_IOVA_RANGES _IO(';', 0x84)
#define IOMMU_IOAS_MAP _IO(';', 0x85)
#define IOMMU_IOAS_UNMAP _IO(';', 0x86)

#endif

#ifndef VFIO_DEVICE_BIND_IOMMUFD

struct vfio_device_bind_iommufd {
    __u32 argsz, flags;
    __s32 iommufd;
    __u32 out_devid;
};

struct vfio_device_attach_iommufd_pt {
    __u32 argsz, flags, pt_id;
};

#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

#endif

#endif
