// A loop around the Verilated harness that only drives the clock, for comparison with cocotb. It does
// one run on the files in the working directory, and prints the seconds that the loop took.

#include <chrono>
#include <cstdio>

#include "Vtop.h"
#include "verilated.h"

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop top{&context};
    const auto cycle = [&top] {
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
    };
    top.clk = 0;
    top.start = 0;
    top.eval();
    const auto begin = std::chrono::steady_clock::now();
    cycle();
    top.start = 1;
    cycle();
    top.start = 0;
    while (!top.done) cycle();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    std::printf("%.6f\n", seconds.count());
    top.final();
    return 0;
}
