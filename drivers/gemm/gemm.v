// SPDX-License-Identifier: Apache-2.0
//
// gemm: C += A * B for tiles of int8, an AXI4-Lite subordinate with an interrupt.
//
// A is 8 rows by DEPTH, B is DEPTH by 8 columns, C is 8 by 8 of int32; DEPTH is 1 to 256. Each clock
// one column of A meets one row of B in 64 multipliers: a run takes DEPTH clocks. Longer products
// are several runs without CLEAR between them. The registers are described in gemm.toml.
`default_nettype none

module gemm (
    input  wire        clk,
    input  wire        rst_n,

    input  wire [13:0] s_axi_awaddr,
    input  wire        s_axi_awvalid,
    output wire        s_axi_awready,
    input  wire [31:0] s_axi_wdata,
    input  wire [ 3:0] s_axi_wstrb,
    input  wire        s_axi_wvalid,
    output wire        s_axi_wready,
    output reg  [ 1:0] s_axi_bresp,
    output reg         s_axi_bvalid,
    input  wire        s_axi_bready,

    input  wire [13:0] s_axi_araddr,
    input  wire        s_axi_arvalid,
    output wire        s_axi_arready,
    output reg  [31:0] s_axi_rdata,
    output reg  [ 1:0] s_axi_rresp,
    output reg         s_axi_rvalid,
    input  wire        s_axi_rready,

    output wire        irq
);
    localparam [31:0] ID = 32'h4d4d4547;  // "GEMM", as its bytes lie in memory
    localparam [31:0] SHAPE = {16'd256, 8'd8, 8'd8};
    localparam [1:0] OKAY = 2'b00, SLVERR = 2'b10;

    localparam [13:0] REG_ID = 14'h000, REG_SHAPE = 14'h004, REG_CONTROL = 14'h008;
    localparam [13:0] REG_STATUS = 14'h00c, REG_INTERRUPT = 14'h010, REG_DEPTH = 14'h014;
    localparam [13:0] REG_CYCLES = 14'h018;

    // ---- the array -----------------------------------------------------------------------------

    reg [31:0] a_words [0:511];  // column k of A: words 2k (rows 0 to 3) and 2k + 1 (rows 4 to 7)
    reg [31:0] b_words [0:511];  // row k of B, likewise
    reg signed [31:0] c [0:63];  // row by row

    reg [8:0] depth, step;
    reg busy, done, interrupt_enabled;
    reg [31:0] cycles;

    wire [63:0] a_column = {a_words[{step[7:0], 1'b1}], a_words[{step[7:0], 1'b0}]};
    wire [63:0] b_row = {b_words[{step[7:0], 1'b1}], b_words[{step[7:0], 1'b0}]};

    assign irq = done & interrupt_enabled;

    // ---- the bus: one write and one read at a time -----------------------------------------------

    wire write = s_axi_awvalid & s_axi_wvalid & ~s_axi_bvalid;
    wire read = s_axi_arvalid & ~s_axi_rvalid;
    assign s_axi_awready = write;
    assign s_axi_wready = write;
    assign s_axi_arready = read;

    wire in_a = s_axi_awaddr >= 14'h0400 && s_axi_awaddr < 14'h0c00;
    wire in_b = s_axi_awaddr >= 14'h1000 && s_axi_awaddr < 14'h1800;
    wire in_c = s_axi_araddr >= 14'h2000 && s_axi_araddr < 14'h2100;
    wire whole = s_axi_wstrb == 4'b1111 && s_axi_awaddr[1:0] == 2'b00;
    wire [8:0] a_index = s_axi_awaddr[10:2] - 9'h100;
    wire [8:0] b_index = s_axi_awaddr[10:2];

    wire start = s_axi_wdata[0], clear = s_axi_wdata[1];
    wire depth_fits = s_axi_wdata != 32'd0 && s_axi_wdata <= 32'd256;

    integer i, j;

    always @(posedge clk) begin
        if (!rst_n) begin
            s_axi_bvalid <= 1'b0;
            s_axi_bresp <= OKAY;
            busy <= 1'b0;
            done <= 1'b0;
            interrupt_enabled <= 1'b0;
            depth <= 9'd1;
            step <= 9'd0;
            cycles <= 32'd0;
            for (i = 0; i < 64; i = i + 1) c[i] <= 32'sd0;
        end else begin
            if (busy) begin
                for (i = 0; i < 8; i = i + 1)
                    for (j = 0; j < 8; j = j + 1)
                        c[i*8+j] <= c[i*8+j] + $signed(a_column[i*8+:8]) * $signed(b_row[j*8+:8]);
                cycles <= cycles + 32'd1;
                step <= step + 9'd1;
                if (step + 9'd1 == depth) begin
                    busy <= 1'b0;
                    done <= 1'b1;
                end
            end
            if (s_axi_bvalid & s_axi_bready) s_axi_bvalid <= 1'b0;
            if (write) begin
                s_axi_bvalid <= 1'b1;
                s_axi_bresp <= OKAY;
                // While it runs, nothing of it may change.
                if (!whole) s_axi_bresp <= SLVERR;
                else if (s_axi_awaddr == REG_INTERRUPT) interrupt_enabled <= s_axi_wdata[0];
                else if (s_axi_awaddr == REG_STATUS) begin
                    if (s_axi_wdata[1]) done <= 1'b0;
                end else if (busy) s_axi_bresp <= SLVERR;
                else if (in_a) a_words[a_index] <= s_axi_wdata;
                else if (in_b) b_words[b_index] <= s_axi_wdata;
                else if (s_axi_awaddr == REG_DEPTH && depth_fits) depth <= s_axi_wdata[8:0];
                else if (s_axi_awaddr == REG_CONTROL) begin
                    if (clear) for (i = 0; i < 64; i = i + 1) c[i] <= 32'sd0;
                    if (start) begin
                        busy <= 1'b1;
                        done <= 1'b0;
                        step <= 9'd0;
                        cycles <= 32'd0;
                    end
                end else s_axi_bresp <= SLVERR;
            end
        end
    end

    always @(posedge clk) begin
        if (!rst_n) begin
            s_axi_rvalid <= 1'b0;
            s_axi_rresp <= OKAY;
            s_axi_rdata <= 32'd0;
        end else begin
            if (s_axi_rvalid & s_axi_rready) s_axi_rvalid <= 1'b0;
            if (read) begin
                s_axi_rvalid <= 1'b1;
                s_axi_rresp <= OKAY;
                if (s_axi_araddr[1:0] != 2'b00) begin
                    s_axi_rresp <= SLVERR;
                    s_axi_rdata <= 32'd0;
                end else if (in_c) s_axi_rdata <= c[s_axi_araddr[7:2]];
                else
                    case (s_axi_araddr)
                        REG_ID: s_axi_rdata <= ID;
                        REG_SHAPE: s_axi_rdata <= SHAPE;
                        REG_STATUS: s_axi_rdata <= {30'd0, done, busy};
                        REG_INTERRUPT: s_axi_rdata <= {31'd0, interrupt_enabled};
                        REG_DEPTH: s_axi_rdata <= {23'd0, depth};
                        REG_CYCLES: s_axi_rdata <= cycles;
                        default: begin
                            s_axi_rdata <= 32'd0;
                            s_axi_rresp <= SLVERR;
                        end
                    endcase
            end
        end
    end
endmodule
