// Block RAMs of two families of FPGAs, as the makers document them, in the one shape that a small
// engine uses: 36 bits wide, a write port and a read port, no output register. Only the first four
// words exist here: a netlist that uses others is not equal to its RTL.

module DP16KD (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
  input DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
  input DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
  output DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
  output DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  parameter [31:0] DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter [39:0] REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter [31:0] CLKAMUX = "CLKA", CLKBMUX = "CLKB";
  wire [8:0] to = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5};
  wire [8:0] from = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5};
  wire [3:0] bytes = {ADA3, ADA2, ADA1, ADA0};
  wire [35:0] in = {
    DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
    DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
    DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  // The documented bits of each port; another mode has another shape, and is refused.
  wire shape = DATA_WIDTH_A == 36 && DATA_WIDTH_B == 36 && REGMODE_A == "NOREG"
    && REGMODE_B == "NOREG" && CLKAMUX == "CLKA" && CLKBMUX == "CLKB";
  wire on = shape & ~(CSA2 | CSA1 | CSA0 | CSB2 | CSB1 | CSB0 | RSTA | RSTB | WEB);
  reg [35:0] mem [3:0];
  reg [35:0] out;
  integer i;
  initial begin
    for (i = 0; i < 4; i = i + 1)
      mem[i] = 36'd0;
    out = 36'd0;
  end
  always @(posedge CLKA)
    for (i = 0; i < 4; i = i + 1)
      if (on & CEA & WEA & bytes[i] & to < 4)
        mem[to[1:0]][9 * i +: 9] <= in[9 * i +: 9];
  always @(posedge CLKB)
    if (CEB)
      out <= on & from < 4 ? mem[from[1:0]] : 36'd0;
  assign {
    DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
    DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0,
    DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
    DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = out;
endmodule

module RAMB18E2 (
  input CLKARDCLK, CLKBWRCLK, ENARDEN, ENBWREN, ADDRENA, ADDRENB, SLEEP,
  input REGCEAREGCE, REGCEB, RSTRAMARSTRAM, RSTRAMB, RSTREGARSTREG, RSTREGB,
  input [13:0] ADDRARDADDR, ADDRBWRADDR,
  input [15:0] DINADIN, DINBDIN,
  input [1:0] DINPADINP, DINPBDINP, WEA,
  input [3:0] WEBWE,
  output [15:0] DOUTADOUT, DOUTBDOUT,
  output [1:0] DOUTPADOUTP, DOUTPBDOUTP
);
  parameter [31:0] READ_WIDTH_A = 0, READ_WIDTH_B = 0, WRITE_WIDTH_A = 0, WRITE_WIDTH_B = 0;
  parameter [31:0] DOA_REG = 0, DOB_REG = 0;
  wire [8:0] to = ADDRBWRADDR[13:5], from = ADDRARDADDR[13:5];
  wire [35:0] in = {
    DINPBDINP[1], DINBDIN[15:8], DINPBDINP[0], DINBDIN[7:0],
    DINPADINP[1], DINADIN[15:8], DINPADINP[0], DINADIN[7:0]};
  wire shape = READ_WIDTH_A == 36 && WRITE_WIDTH_B == 36 && READ_WIDTH_B == 0
    && WRITE_WIDTH_A == 0 && DOA_REG == 0 && DOB_REG == 0;
  wire on = shape & ADDRENA & ADDRENB
    & ~(SLEEP | RSTRAMARSTRAM | RSTRAMB | WEA[0] | WEA[1]);
  reg [35:0] mem [3:0];
  reg [35:0] out;
  integer i;
  initial begin
    for (i = 0; i < 4; i = i + 1)
      mem[i] = 36'd0;
    out = 36'd0;
  end
  always @(posedge CLKBWRCLK)
    for (i = 0; i < 4; i = i + 1)
      if (on & ENBWREN & WEBWE[i] & to < 4)
        mem[to[1:0]][9 * i +: 9] <= in[9 * i +: 9];
  always @(posedge CLKARDCLK)
    if (ENARDEN)
      out <= on & from < 4 ? mem[from[1:0]] : 36'd0;
  assign {
    DOUTPBDOUTP[1], DOUTBDOUT[15:8], DOUTPBDOUTP[0], DOUTBDOUT[7:0],
    DOUTPADOUTP[1], DOUTADOUT[15:8], DOUTPADOUTP[0], DOUTADOUT[7:0]} = out;
endmodule
