// SPDX-License-Identifier: Apache-2.0
// The other side of an AXI4-Lite subordinate with an interrupt: the bus, and the clock. Compiled
// once a design, whose top module is HAL_DESIGN.
#include <memory>
#include <new>

#include <verilated.h>

extern "C" {
#include "model.h"
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define JOIN_OF(a, b) a##b
#define JOIN(a, b) JOIN_OF(a, b)
#define TOP JOIN(V, HAL_DESIGN)
#define HEADER TEXT(TOP.h)

#include HEADER

namespace
{

constexpr int patience = 1000; // clocks that an answer may take
constexpr uint32_t whole = 0xf;

class Instance
{
  public:
    Instance() : top_(&context_)
    {
        top_.rst_n = 0;
        clock(4);
        top_.rst_n = 1;
        top_.s_axi_bready = 1;
        top_.s_axi_rready = 1;
        clock(1);
        cycles_ = 0;
    }

    ~Instance()
    {
        top_.final();
    }

    void clock(uint32_t cycles)
    {
        for (; cycles; cycles--) {
            low();
            high();
        }
    }

    verilated_answer write(uint32_t address, uint32_t value)
    {
        top_.s_axi_awaddr = address;
        top_.s_axi_wdata = value;
        top_.s_axi_wstrb = whole;
        top_.s_axi_awvalid = top_.s_axi_wvalid = 1;
        const bool taken = until([&] { return top_.s_axi_awready && top_.s_axi_wready; });
        top_.s_axi_awvalid = top_.s_axi_wvalid = 0;
        if (!taken ||
            !until([&] { return top_.s_axi_bvalid; }, [&] { answer_ = top_.s_axi_bresp; }))
            return VERILATED_NONE;
        return static_cast<verilated_answer>(answer_);
    }

    verilated_answer read(uint32_t address, uint32_t &value)
    {
        top_.s_axi_araddr = address;
        top_.s_axi_arvalid = 1;
        const bool taken = until([&] { return top_.s_axi_arready; });
        top_.s_axi_arvalid = 0;
        if (!taken || !until([&] { return top_.s_axi_rvalid; },
                             [&] {
                                 answer_ = top_.s_axi_rresp;
                                 value = top_.s_axi_rdata;
                             }))
            return VERILATED_NONE;
        return static_cast<verilated_answer>(answer_);
    }

    bool interrupt() const
    {
        return top_.irq;
    }

    uint64_t cycles() const
    {
        return cycles_;
    }

  private:
    void low()
    {
        top_.clk = 0;
        top_.eval();
    }

    void high()
    {
        top_.clk = 1;
        top_.eval();
        cycles_++;
    }

    // What is true before a rising edge is seen there; `seen` looks before the edge changes it.
    template <typename Condition, typename Seen> bool until(Condition condition, Seen seen)
    {
        for (int i = 0; i < patience; i++) {
            low();
            const bool met = condition();
            if (met)
                seen();
            high();
            if (met)
                return true;
        }
        return false;
    }

    template <typename Condition> bool until(Condition condition)
    {
        return until(condition, [] {});
    }

    VerilatedContext context_;
    TOP top_;
    uint64_t cycles_ = 0;
    int answer_ = 0;
};

Instance &of(void *instance)
{
    return *static_cast<Instance *>(instance);
}

} // namespace

extern "C" __attribute__((visibility("default"))) const verilated_model verilated_model;

const struct verilated_model verilated_model = {
    VERILATED_ABI,
    HAL_DESIGN_SIZE,
    TEXT(HAL_DESIGN),
    []() -> void * { return new (std::nothrow) Instance; },
    [](void *instance) { delete &of(instance); },
    [](void *instance, uint32_t address, uint32_t value) {
        return of(instance).write(address, value);
    },
    [](void *instance, uint32_t address, uint32_t *value) {
        return of(instance).read(address, *value);
    },
    [](void *instance, uint32_t cycles) { of(instance).clock(cycles); },
    [](void *instance) { return of(instance).interrupt(); },
    [](void *instance) { return of(instance).cycles(); },
};
