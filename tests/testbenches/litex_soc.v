// Host of a LiteX SoC, and a second master that takes its bus now and then.
// program.v holds calls of the tasks below, and prints what was read.
`timescale 1ns / 1ns

module bench;
    reg clk = 0, rst = 1;
    always #5 clk = !clk;

    reg [29:0] adr, noise_adr = 30'h10000000;
    reg [31:0] dat_w;
    reg we, stb = 0, noise_stb = 0;
    wire [31:0] dat_r;
    wire ack, noise_ack;

    soc soc (
        .clk(clk), .rst(rst),
        .host_adr(adr), .host_dat_w(dat_w), .host_dat_r(dat_r), .host_sel(4'hf), .host_cyc(stb),
        .host_stb(stb), .host_ack(ack), .host_we(we), .host_cti(3'd0), .host_bte(2'd0), .host_err(),
        .noise_adr(noise_adr), .noise_dat_w(32'd0), .noise_dat_r(), .noise_sel(4'hf),
        .noise_cyc(noise_stb), .noise_stb(noise_stb), .noise_ack(noise_ack), .noise_we(1'b0),
        .noise_cti(3'd0), .noise_bte(2'd0), .noise_err()
    );

    integer seed = 1;

    // Bursts of reads, which stall the DMAs.
    always begin
        repeat ($random(seed) & 31) @(posedge clk);
        repeat ($random(seed) & 15) begin
            noise_stb <= !rst;
            @(posedge clk);
            while (noise_stb && !noise_ack) @(posedge clk);
        end
        noise_stb <= 0;
        @(posedge clk);
    end

    task access(input [31:0] address);
        begin
            adr <= address[31:2];
            stb <= 1;
            @(posedge clk);
            while (!(stb && ack)) @(posedge clk);
            stb <= 0;
            @(posedge clk);
        end
    endtask

    task write(input [31:0] address, input [31:0] data);
        begin
            dat_w <= data;
            we <= 1;
            access(address);
        end
    endtask

    reg [31:0] value;
    always @(posedge clk) if (stb && ack) value <= dat_r;

    task read(input [31:0] address);
        begin
            we <= 0;
            access(address);
        end
    endtask

    // Wait until a register is not 0.
    task await(input [31:0] address);
        begin
            value = 0;
            while (value == 0) read(address);
        end
    endtask

    task dump(input [31:0] address, input integer words);
        integer at;
        for (at = 0; at < words; at = at + 1) begin
            read(address + 4 * at);
            $display("%h", value);
        end
    endtask

    initial begin
        repeat (4) @(posedge clk);
        rst <= 0;
        repeat (4) @(posedge clk);
        `include "program.v"
        $finish;
    end

    initial begin
        repeat (`LIMIT) @(posedge clk);
        $display("LIMIT");
        $finish;
    end
endmodule
