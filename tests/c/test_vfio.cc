/* SPDX-License-Identifier: Apache-2.0 */
/* VFIO: addresses and options, which need no device; then, in the lab, QEMU's edu: its registers by
 * mmio, and by vfio, or why it cannot be had so. More is in tests/lab/guest/test_vfio.py. */
#include "helpers.h"
#include "lab.h"

#include <cerrno>
#include <sys/mman.h>
#include <vector>

#include <hal/vfio.h>

using test::contains;
using test::Device;
using test::message;

namespace
{

constexpr uint64_t kIdentity = 0, kLiveness = 4, kFactorial = 8, kStatus = 0x20;
constexpr uint64_t kAcknowledge = 0x64, kSource = 0x80, kSram = 0x40000;
constexpr uint64_t kGo = 1, kToMemory = 2, kInterrupt = 4;
constexpr size_t kPage = 4096, kMoved = 1024;

uint64_t load(const Device &edu, uint64_t offset, unsigned width = 4)
{
    uint64_t value = 0;

    CHECK_MESSAGE(hal_load(edu, offset, width, &value) == 0, hal_last_error());
    return value;
}

void store(const Device &edu, uint64_t offset, uint64_t value, unsigned width = 4)
{
    CHECK_MESSAGE(hal_store(edu, offset, width, value) == 0, hal_last_error());
}

/* What edu computes. */
void check_registers(const Device &edu)
{
    CHECK(load(edu, kIdentity) == 0x010000ed);
    store(edu, kLiveness, 0x12345678);
    CHECK(load(edu, kLiveness) == 0xedcba987);
    store(edu, kFactorial, 10);
    for (int i = 0; i < 1000 && load(edu, kStatus) & 1; i++)
        test::sleep_ms(1);
    CHECK(load(edu, kFactorial) == 3628800);
}

/* The first edu of the guest: its folder in sysfs; "" elsewhere. */
std::string edu_folder()
{
    std::string found;
    glob_t paths;

    if (!std::getenv("HAL_LAB")) {
        std::printf("skipped: this is no guest of the lab (tests/lab)\n");
        return found;
    }
    if (glob("/sys/bus/pci/devices/*", 0, nullptr, &paths) == 0) {
        for (size_t i = 0; i < paths.gl_pathc && found.empty(); i++) {
            std::ifstream device(std::string(paths.gl_pathv[i]) + "/device");
            std::string id;
            if (device >> id && id == "0x11e8")
                found = paths.gl_pathv[i];
        }
        globfree(&paths);
    }
    REQUIRE_FALSE(found.empty());
    return found;
}

bool have_iommu()
{
    glob_t paths;
    bool found = glob("/sys/class/iommu/*", 0, nullptr, &paths) == 0;

    if (found)
        globfree(&paths);
    return found;
}

/* Its PCI function in the hands of vfio-pci. */
class HandedOver
{
  public:
    explicit HandedOver(std::string folder) : folder_(std::move(folder))
    {
        REQUIRE(test::put(folder_ + "/driver_override", "vfio-pci"));
        REQUIRE(test::put("/sys/bus/pci/drivers_probe", test::basename_of(folder_)));
    }
    ~HandedOver()
    {
        test::put(folder_ + "/driver/unbind", test::basename_of(folder_));
        test::put(folder_ + "/driver_override", "\n");
    }
    HandedOver(const HandedOver &) = delete;
    HandedOver &operator=(const HandedOver &) = delete;

  private:
    std::string folder_;
};

void transfer(const Device &edu, uint64_t source, uint64_t target, uint64_t command)
{
    uint32_t count;

    store(edu, kSource, source, 8);
    store(edu, kSource + 8, target, 8);
    store(edu, kSource + 16, kMoved, 8);
    store(edu, kSource + 24, command | kGo | kInterrupt, 8);
    CHECK_MESSAGE(hal_read(edu, &count, sizeof(count), hal_after_ms(20000)) == 4, hal_last_error());
    store(edu, kAcknowledge, 0x100);
}

struct hal_vfio_dma describe(void *memory, size_t length, uint32_t flags)
{
    struct hal_vfio_dma dma = {};

    dma.address = (uint64_t)(uintptr_t)memory;
    dma.length = length;
    dma.iova = HAL_VFIO_IOVA_ANY;
    dma.flags = flags;
    return dma;
}

long request(const Device &edu, uint32_t number, struct hal_vfio_dma *dma)
{
    return hal_control(edu, number, dma, sizeof(*dma), HAL_FOREVER);
}

void check_dma(const Device &edu)
{
    std::vector<uint8_t> out(kPage + kMoved), back(kPage + kMoved);
    struct hal_vfio_dma from = describe(&out[100], kMoved, HAL_VFIO_DEVICE_READS);
    struct hal_vfio_dma to = describe(&back[7], kMoved, HAL_VFIO_DEVICE_WRITES);
    struct hal_vfio_dma wrong = describe(&out[0], kMoved, 4);

    for (size_t i = 0; i < out.size(); i++)
        out[i] = (uint8_t)(i * 7);
    REQUIRE_MESSAGE(request(edu, HAL_VFIO_DMA_MAP, &from) == 0, hal_last_error());
    REQUIRE_MESSAGE(request(edu, HAL_VFIO_DMA_MAP, &to) == 0, hal_last_error());
    CHECK(from.iova % kPage == from.address % kPage);
    transfer(edu, from.iova, kSram, 0);
    transfer(edu, kSram, to.iova, kToMemory);
    CHECK(memcmp(&out[100], &back[7], kMoved) == 0);
    CHECK(back[6] == 0);
    CHECK(back[7 + kMoved] == 0);

    CHECK(request(edu, HAL_VFIO_DMA_UNMAP, &from) == 0);
    CHECK(request(edu, HAL_VFIO_DMA_UNMAP, &from) == -ENOENT);
    CHECK(request(edu, HAL_VFIO_DMA_MAP, &wrong) == -EINVAL);
    wrong.flags = HAL_VFIO_DEVICE_READS;
    wrong.length = 0;
    CHECK(request(edu, HAL_VFIO_DMA_MAP, &wrong) == -EINVAL);
    CHECK(hal_control(edu, HAL_VFIO_DMA_MAP, &wrong, 8, HAL_FOREVER) == -EINVAL);
    /* `to` is left to hal_close(). */
}

} // namespace

TEST_CASE("addresses and options")
{
    static const struct {
        const char *uri;
        int error;
        const char *part;
    } cases[] = {
        {"vfio:", -EINVAL, "a PCI function and a region"},
        {"vfio:0000:00:04.0/6", -EINVAL, "0000:00:04.0/0 .. /5 (BARs), /config, /rom"},
        {"vfio:0000:00:04.0/64", -EINVAL, "a PCI function and a region"},
        {"vfio:0000:00:04.0/", -EINVAL, "a PCI function and a region"},
        {"vfio:0000:00:04.0/-1", -EINVAL, "a PCI function and a region"},
        {"vfio:0000:00:04.0/configs", -EINVAL, "a PCI function and a region"},
        {"vfio:0000:00:04.8/0", -EINVAL, "a PCI function and a region"},
        {"vfio:0000:00:20.0/0", -EINVAL, "a PCI function and a region"},
        {"vfio:00:04.0/0", -EINVAL, "a PCI function and a region"},
        {"vfio:ffff:ff:1f.7", -ENOENT, "no PCI device ffff:ff:1f.7"},
        {"vfio:ffff:ff:1f.7/config", -ENOENT, "no PCI device ffff:ff:1f.7"},
        {"vfio:ffff:ff:1f.7/rom", -ENOENT, "no PCI device ffff:ff:1f.7"},
        {"vfio:ffff:ff:1f.7/9", -ENOENT, "no PCI device ffff:ff:1f.7"},
        {"vfio:ffff:ff:1f.7/0?irq=edge", -EINVAL, "none, auto, intx, msi, msix"},
        {"vfio:ffff:ff:1f.7/0?vector=2048", -ERANGE, "2048 is outside 0 .. 2047"},
        {"vfio:ffff:ff:1f.7/0?vectors=0", -ERANGE, "0 is outside 1 .. 2048"},
        {"vfio:ffff:ff:1f.7/0?dma_bits=16", -ERANGE, "16 is outside 17 .. 64"},
        {"vfio:ffff:ff:1f.7/0?backend=uio", -EINVAL, "auto, group, iommufd"},
        {"vfio:ffff:ff:1f.7/0?bus_master=1", -EINVAL, "bus_master"},
    };

    for (const auto &c : cases) {
        CAPTURE(std::string(c.uri));
        CHECK(hal_open(c.uri, HAL_FOREVER) == c.error);
        CHECK(contains(message(), c.part));
    }
}

TEST_CASE("edu's registers by mmio")
{
    std::string folder = edu_folder();
    if (folder.empty())
        return;
    check_registers(Device("mmio:" + test::basename_of(folder) + "/0?enable=true"));
}

TEST_CASE("without IOMMU edu cannot be had by vfio, and the message says what to turn on")
{
    std::string folder = edu_folder();
    if (folder.empty() || have_iommu())
        return;
    CHECK(hal_open(("vfio:" + test::basename_of(folder)).c_str(), HAL_FOREVER) == -EOPNOTSUPP);
    CHECK(contains(message(), "no IOMMU is on: "));
    CHECK(contains(message(), "Registers without DMA: mmio:" + test::basename_of(folder)));
}

TEST_CASE("with IOMMU edu is had by vfio: registers, DMA both ways, messages")
{
    std::string folder = edu_folder();
    if (folder.empty() || !have_iommu())
        return;
    std::string name = "vfio:" + test::basename_of(folder);
    CHECK(hal_open(name.c_str(), HAL_FOREVER) == -ENOENT);
    CHECK(contains(message(), "it has no kernel driver; give it to vfio-pci, as root: "));
    HandedOver held(folder);
    for (int i = 0; i < 2; i++) { /* what the first leaves is not in the way of the second */
        Device edu(name + "/0?irq=msi&dma_bits=28"), config(name + "/config");
        check_registers(edu);
        check_dma(edu);
        CHECK(load(config, 0) == 0x11e81234);
        CHECK(hal_control(edu, HAL_VFIO_RESET, nullptr, 0, HAL_FOREVER) == -EOPNOTSUPP);
    }
}
