// An SDRAM chip with 16 data bits, for simulation. It stops the simulation at a command that comes too
// early or is not legal, and when a refresh is late.
//
// The chip samples at the falling edge of clk, half a cycle behind the registers of its pins. Times are in
// cycles; the defaults are those of an MT48LC16M16 at 50 MHz. A plusarg of the same name in lower case
// replaces a time: +activate_to_access=4. +image=FILE fills the words from 0 on with those of a file, the low
// byte first. Words have the order row, bank, column.
//
// Source of the rules: data sheet of Micron's MT48LC16M16A2, and JESD21-C, 3.11.5.
`define RULE(holds, rule) if (!(holds)) $fatal(1, "sdram: %s, in cycle %0d", rule, now)

module sdram_model #(
    parameter int BANK_BITS = 2,
    parameter int ROW_BITS = 13,
    parameter int COLUMN_BITS = 9,
    parameter int LATENCY = 2,
    parameter int ACTIVATE_TO_ACCESS = 1,     // tRCD
    parameter int ACTIVATE_TO_PRECHARGE = 3,  // tRAS
    parameter int ACTIVATE_TO_ACTIVATE = 4,   // tRC
    parameter int ACTIVATE_TO_OTHER = 1,      // tRRD
    parameter int PRECHARGE = 1,              // tRP
    parameter int WRITE_TO_PRECHARGE = 1,     // tWR
    parameter int REFRESH = 4,                // tRFC
    parameter int REFRESH_INTERVAL = 390,     // tREFI
    parameter int POWER_UP = 5000,            // 100 µs
    localparam int ADDRESS_BITS = ROW_BITS > COLUMN_BITS ? ROW_BITS : COLUMN_BITS
) (
    input logic clk,
    input logic fill,  // Its rising edge fills the words again: a test at the start overwrites some.
    input logic cke,
    input logic ras_n,
    input logic cas_n,
    input logic we_n,
    input logic [BANK_BITS-1:0] ba,
    input logic [ADDRESS_BITS-1:0] a,
    input logic [1:0] dqm,
    input logic [15:0] dq_o,  // What the controller drives
    input logic dq_oe,        // while this is high,
    output logic [15:0] dq_i  // and what the chip drives, or a pattern.
);
  localparam int BANKS = 1 << BANK_BITS;
  localparam int WORDS = 1 << (BANK_BITS + ROW_BITS + COLUMN_BITS);
  localparam int MODE_TO_COMMAND = 2;  // tMRD
  localparam longint POSTPONED = 8;    // Refreshes that may be late.
  localparam logic [15:0] NOTHING = 16'hdead;

  int activate_to_access, activate_to_precharge, activate_to_activate, activate_to_other, precharge;
  int write_to_precharge, refresh, refresh_interval, power_up, bytes, file;
  string image;
  logic [15:0] words[WORDS];

  initial begin
    activate_to_access = ACTIVATE_TO_ACCESS;
    activate_to_precharge = ACTIVATE_TO_PRECHARGE;
    activate_to_activate = ACTIVATE_TO_ACTIVATE;
    activate_to_other = ACTIVATE_TO_OTHER;
    precharge = PRECHARGE;
    write_to_precharge = WRITE_TO_PRECHARGE;
    refresh = REFRESH;
    refresh_interval = REFRESH_INTERVAL;
    power_up = POWER_UP;
    void'($value$plusargs("activate_to_access=%d", activate_to_access));
    void'($value$plusargs("activate_to_precharge=%d", activate_to_precharge));
    void'($value$plusargs("activate_to_activate=%d", activate_to_activate));
    void'($value$plusargs("activate_to_other=%d", activate_to_other));
    void'($value$plusargs("precharge=%d", precharge));
    void'($value$plusargs("write_to_precharge=%d", write_to_precharge));
    void'($value$plusargs("refresh=%d", refresh));
    void'($value$plusargs("refresh_interval=%d", refresh_interval));
    void'($value$plusargs("power_up=%d", power_up));
    fill_words();
  end

  // Fill the words from 0 on with those of the image, if there is one.
  task automatic fill_words;
    if ($value$plusargs("image=%s", image)) begin
      file = $fopen(image, "rb");
      if (file == 0) $fatal(1, "sdram: the image %s cannot be read", image);
      bytes = $fread(words, file);
      $fclose(file);
      // The first byte of the file is read as the high one.
      for (int word = 0; word < (bytes + 1) / 2; word++)
      words[word] = {words[word][7:0], words[word][15:8]};
    end
  endtask

  logic filled = 0;

  longint now = 0;  // Cycles since the start.
  longint refreshed = 0, refreshes = 0, began = 0, moded = 0, activated_any = 0;
  longint activated[BANKS], precharged[BANKS], written[BANKS], accessed[BANKS];
  logic [ROW_BITS-1:0] row[BANKS];
  logic [BANKS-1:0] open = 0, closing = 0;  // Closing: a precharge follows an access by itself.
  logic all_precharged = 0, started = 0;
  int start_refreshes = 0;
  logic [15:0] coming[LATENCY], passing;
  logic [LATENCY-1:0] driven = 0;
  logic [1:0] masked = 0, masked_before = 0;

  initial
    for (int bank = 0; bank < BANKS; bank++) begin
      activated[bank] = -1000;
      precharged[bank] = -1000;
      written[bank] = -1000;
      accessed[bank] = -1000;
    end

  // The cycle in which a bank begins to precharge by itself.
  function automatic longint closes(int bank);
    longint at = accessed[bank] + 1;
    if (written[bank] + longint'(write_to_precharge) > at) at = written[bank] + longint'(write_to_precharge);
    if (activated[bank] + longint'(activate_to_precharge) > at)
      at = activated[bank] + longint'(activate_to_precharge);
    return at;
  endfunction

  // A bank must be closed, and its precharge must be over.
  task automatic demand_idle(int one);
    `RULE(!open[one], "a bank is open that must be closed");
    `RULE(now - precharged[one] >= longint'(precharge), "precharge (tRP) is too short");
  endtask

  int bank;
  logic [BANK_BITS+ROW_BITS+COLUMN_BITS-1:0] place;
  logic reads;

  always @(negedge clk) begin
    if (fill && !filled) fill_words();
    filled = fill;
    now <= now + 1;
    bank = int'(ba);
    reads = 0;
    passing = NOTHING;
    for (int one = 0; one < BANKS; one++)
    if (closing[one] && now >= closes(one)) begin
      precharged[one] = closes(one);
      closing[one] = 0;
      open[one] = 0;
    end
    `RULE(cke || now < longint'(power_up), "cke must be high");
    if (started) begin
      `RULE(now - refreshed <= (POSTPONED + 1) * longint'(refresh_interval), "refresh_interval (tREFI) is too long");
      `RULE((refreshes + POSTPONED) * longint'(refresh_interval) >= now - began,
             "refresh_interval (tREFI) is too long");
    end
    if ({ras_n, cas_n, we_n} != 3'b111) begin
      `RULE(now >= longint'(power_up), "power_up is too short");
      `RULE(now - refreshed >= longint'(refresh) || refreshed == 0, "refresh (tRFC) is too short");
      `RULE(now - moded >= longint'(MODE_TO_COMMAND) || moded == 0, "a command follows the mode (tMRD) too early");
    end
    case ({ras_n, cas_n, we_n})
      3'b111: ;
      3'b011: begin  // ACTIVE
        `RULE(started, "a bank is opened before the start is over");
        demand_idle(bank);
        `RULE(now - activated[bank] >= longint'(activate_to_activate), "activate_to_activate (tRC) is too short");
        `RULE(now - activated_any >= longint'(activate_to_other), "activate_to_other (tRRD) is too short");
        open[bank] = 1;
        row[bank] = a[ROW_BITS-1:0];
        activated[bank] = now;
        activated_any = now;
      end
      3'b101, 3'b100: begin  // READ, WRITE
        `RULE(open[bank] && !closing[bank], "a bank is closed that must be open");
        `RULE(now - activated[bank] >= longint'(activate_to_access), "activate_to_access (tRCD) is too short");
        // Bit 10 of the address is no bit of the column.
        place = {row[bank], ba, COLUMN_BITS'({a[ADDRESS_BITS-1:11], a[9:0]})};
        accessed[bank] = now;
        if (we_n) begin
          reads = 1;
          passing = words[place];
        end else begin
          `RULE(dq_oe, "a write has no data");
          written[bank] = now;
          if (!dqm[0]) words[place][7:0] = dq_o[7:0];
          if (!dqm[1]) words[place][15:8] = dq_o[15:8];
        end
        closing[bank] = a[10];
      end
      3'b010:  // PRECHARGE
      for (int one = 0; one < BANKS; one++)
      if ((a[10] || one == bank) && open[one]) begin
        `RULE(now - activated[one] >= longint'(activate_to_precharge), "activate_to_precharge (tRAS) is too short");
        `RULE(now - written[one] >= longint'(write_to_precharge), "write_to_precharge (tWR) is too short");
        `RULE(!closing[one], "a bank is closed twice");
        open[one] = 0;
        precharged[one] = now;
      end
      3'b001: begin  // REFRESH
        for (int one = 0; one < BANKS; one++) demand_idle(one);
        refreshed = now;
        refreshes <= refreshes + 1;
        start_refreshes = start_refreshes + 1;
      end
      3'b000: begin  // MODE
        for (int one = 0; one < BANKS; one++) demand_idle(one);
        `RULE(a[2:0] == 0, "the mode must have bursts of one word");
        `RULE(a[6:4] == 3'(LATENCY), "the mode must have the latency of the model");
        `RULE(a[3] == 0 && ba == 0 && a >> 7 == 0, "the mode must have zeros in its other bits");
        moded = now;
      end
      default: `RULE(0, "a burst is stopped");
    endcase
    if ({ras_n, cas_n, we_n} == 3'b010 && a[10]) all_precharged = 1;
    if (!started && all_precharged && start_refreshes >= 2 && moded != 0) begin
      started = 1;
      began = now;
      refreshes <= 0;
    end
    // The words that are read come LATENCY edges later, to be sampled at the last of them.
    `RULE(!(dq_oe && (driven[LATENCY-1] || driven[LATENCY-2])),
           "controller and chip drive the data at once");
    for (int stage = LATENCY - 1; stage > 0; stage--) coming[stage] = coming[stage-1];
    coming[0] = passing;
    driven = LATENCY'({driven, reads});
    masked_before = masked;
    masked = dqm;
    dq_i <= !driven[LATENCY-1] ? NOTHING
        : {masked_before[1] ? NOTHING[15:8] : coming[LATENCY-1][15:8],
           masked_before[0] ? NOTHING[7:0] : coming[LATENCY-1][7:0]};
  end
endmodule
