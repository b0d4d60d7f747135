#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs in the x86-64 guest before anything else: loads what the machine's devices need and makes the
# devices that are the kernel's own.  The names it gives are those in devices.py.
set -euo pipefail

config=/sys/kernel/config
step() { read -r up _ </proc/uptime; echo "lab: $up s: $*" >/dev/kmsg; }

put() { # put FILE VALUE
    printf '%s' "$2" >"$1"
}

device_manager() {
    mkdir -p /run/udev
    /lib/systemd/systemd-udevd --daemon 2>/dev/kmsg
}

modules() {
    modprobe -i libnvdimm # without the distribution's look for encryption keys
    modprobe -a i2c-dev i2c-i801 xhci_pci ftdi_sio virtio_net virtio_console \
        cxl_acpi cxl_pci cxl_mem cxl_pmem nfit nd_pmem dax_pmem device_dax \
        uio_pci_generic vfio-pci dummy_hcd \
        lab_i2c lab_spi lab_pwm gpio-sim uleds dma-heap \
        iio_dummy_evgen iio_dummy iio-trig-hrtimer iio-trig-sysfs \
        lm75 max6650 ltc4215
    modprobe i2c-stub chip_addr=0x50,0x51
    modprobe g_serial
    mount -t configfs configfs $config
}

gpio() { # two chips: 16 lines with names and hogs, and 4 lines without
    local chip=$config/gpio-sim/lab
    mkdir -p $chip/{bank0/line{0,1,2,3,6,7},bank1}
    mkdir $chip/bank0/line{6,7}/hog
    put $chip/bank0/num_lines 16
    put $chip/bank0/label lab-gpio
    put $chip/bank0/line0/name BUTTON
    put $chip/bank0/line1/name LED
    put $chip/bank0/line2/name RELAY
    put $chip/bank0/line3/name SENSOR
    put $chip/bank0/line6/name RESET
    put $chip/bank0/line6/hog/name lab-reset
    put $chip/bank0/line6/hog/direction output-high
    put $chip/bank0/line7/name STRAP
    put $chip/bank0/line7/hog/name lab-strap
    put $chip/bank0/line7/hog/direction input
    put $chip/bank1/num_lines 4
    put $chip/bank1/label lab-gpio-small
    put $chip/live 1
}

iio() { # a device with events, a buffer and two triggers
    mkdir $config/iio/devices/dummy/lab-iio
    mkdir $config/iio/triggers/hrtimer/lab-hrtimer
    put /sys/bus/iio/devices/iio_sysfs_trigger/add_trigger 0
}

sensors() { # drivers that hold three addresses of our I2C adapter
    local bus
    bus=$(dirname "$(grep -lx 'lab i2c' /sys/bus/i2c/devices/i2c-*/name)")
    put "$bus/new_device" 'lm75 0x48'
    put "$bus/new_device" 'ltc4215 0x44'
    put "$bus/new_device" 'max6650 0x1b'
}

memory() { # the NVDIMM as one devdax and one fsdax namespace, the CXL device as a region with devdax
    local region
    region=$(basename "$(dirname /sys/bus/nd/devices/region*/nfit)")
    {
        ndctl disable-region "$region"
        ndctl init-labels -f "$(nvdimm)"
        ndctl enable-region "$region"
        ndctl create-namespace -r "$region" -n lab-devdax -m devdax -a 4096 -s 128M
        ndctl create-namespace -r "$region" -n lab-fsdax -m fsdax -s 112M
        cxl create-region -t pmem -m -d decoder0.0 -w 1 -g 256 mem0
        ndctl create-namespace -b CXL -n lab-cxl -m devdax -a 4096
    } >/run/memory.log 2>&1 || { cat /run/memory.log; return 1; }
}

nvdimm() { # the DIMM that the firmware's table names, not the CXL device
    basename "$(dirname "$(dirname /sys/bus/nd/devices/nmem*/nfit/serial)")"
}

step "devices"
modules
gpio
iio
sensors
memory
step "device manager"
device_manager
udevadm trigger --action=add --sysname-match='tty[SUA][SC0-9]*'
udevadm trigger --action=add --subsystem-match={pci,usb,net,i2c-dev,dax}
udevadm settle
step "ready"
