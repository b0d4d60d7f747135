/* SPDX-License-Identifier: Apache-2.0 */
/* A device for SoapySDRServer (a plug-in, SOAPY_SDR_PLUGIN_PATH): it answers a setting of 64 bytes,
 * and streams zeros as fast as they are taken. */
#include <algorithm>
#include <cstring>

#include <SoapySDR/Device.hpp>
#include <SoapySDR/Formats.hpp>
#include <SoapySDR/Registry.hpp>

namespace
{

constexpr size_t CHUNK = 16384; /* samples of 4 bytes: 64 KiB, as the others send */

struct Source : SoapySDR::Device {
    std::string getDriverKey() const override
    {
        return "source";
    }
    size_t getNumChannels(const int) const override
    {
        return 1;
    }
    std::string readSetting(const std::string &) const override
    {
        return std::string(64, 'x');
    }
    std::vector<std::string> getStreamFormats(const int, const size_t) const override
    {
        return {SOAPY_SDR_CS16};
    }
    std::string getNativeStreamFormat(const int, const size_t, double &scale) const override
    {
        scale = 32768;
        return SOAPY_SDR_CS16;
    }
    SoapySDR::Stream *setupStream(const int, const std::string &, const std::vector<size_t> &,
                                  const SoapySDR::Kwargs &) override
    {
        return reinterpret_cast<SoapySDR::Stream *>(this);
    }
    size_t getStreamMTU(SoapySDR::Stream *) const override
    {
        return CHUNK;
    }
    int readStream(SoapySDR::Stream *, void *const *buffers, const size_t count, int &flags,
                   long long &, const long) override
    {
        size_t samples = std::min(count, CHUNK);

        std::memset(buffers[0], 0, samples * 4);
        flags = 0;
        return int(samples);
    }
};

const SoapySDR::Registry registered(
    "source",
    [](const SoapySDR::Kwargs &) {
        return SoapySDR::KwargsList{{{"driver", "source"}}};
    },
    [](const SoapySDR::Kwargs &) -> SoapySDR::Device * { return new Source; },
    SOAPY_SDR_ABI_VERSION);

} // namespace
