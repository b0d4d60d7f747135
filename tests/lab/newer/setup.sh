#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs in the guest of the newer kernel before anything else: makes a region of the CXL device's
# volatile memory, and a dax device of it, by sysfs (the distribution's cxl tool knows persistent
# regions alone).
set -euo pipefail

cxl=/sys/bus/cxl/devices
dax=/sys/bus/dax

put() { # put FILE VALUE
    printf '%s' "$2" >"$1"
}

endpoint() { # the decoder of the device itself
    local decoder
    for decoder in $cxl/decoder*; do
        [ -e "$decoder/dpa_size" ] && basename "$decoder" && return
    done
}

region() {
    local root=$cxl/decoder0.0 device region
    device=$(endpoint)
    region=$(cat $root/create_ram_region)
    put $root/create_ram_region "$region"
    put $cxl/$device/mode ram
    put $cxl/$device/dpa_size 0x10000000
    put $cxl/$region/interleave_granularity 256
    put $cxl/$region/interleave_ways 1
    put $cxl/$region/size 0x10000000
    put $cxl/$region/target0 "$device"
    put $cxl/$region/commit 1
    put /sys/bus/cxl/drivers/cxl_region/bind "$region"
}

wait_for() { # wait_for PATTERN
    for _ in $(seq 250); do
        compgen -G "$1" >/dev/null && return
        sleep 0.02
    done
    echo "no $1" >&2
    return 1
}

modprobe -a cxl_acpi cxl_pci cxl_mem dax_cxl device_dax iommufd vfio-pci virtio_net
wait_for "$cxl/mem0"
wait_for "$cxl/decoder*/dpa_size"
region
wait_for "$dax/devices/dax*"
put $dax/drivers/device_dax/new_id "$(basename $dax/devices/dax*)"
wait_for "/dev/dax*"
