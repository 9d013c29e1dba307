// One element of the array: LANES AND gates, a sum of the lanes, a Horner register, and its place in every accumulator
// bank. In byte mode the lanes of a byte count 1, 2, 4, ...; otherwise each counts one.
//
// Adders have their plain operand on the left: a carry chain takes that one as it is, and gates in front of the other are
// part of it. What is subtracted is inverted and has its carry in from one place more on the right, which is cut off.
module element #(
    parameter int unsigned MAC_LANES = 64,
    parameter int unsigned MAC_DEPTH = 4,
    parameter int unsigned ACC_BANKS = 2,
    // Terms may have gaps between them, as those of a row sum have.
    parameter bit          GAPS = 1'b0,
    localparam int unsigned BANK = machine_pkg::index_bits(ACC_BANKS)
) (
    input  logic                 clk,
    // Operands, and how their lanes count; signed only in byte mode.
    input  logic [MAC_LANES-1:0] a,
    input  logic [MAC_LANES-1:0] w,
    input  logic                 byte_mode,
    input  logic                 byte_signed,
    // MAC_DEPTH - 1 cycles after the operands: what happens to their sum.
    input  logic                 valid,
    input  logic                 start,
    input  logic                 shift,
    input  logic                 negate,
    input  logic                 write,
    input  logic                 add,
    input  logic [BANK-1:0]      bank,
    // The drain's read port.
    input  logic                 drain,
    input  logic [BANK-1:0]      drain_bank,
    output logic [31:0]          drained
);
  /* verilator no_inline_module */  // One copy of the model's code serves all elements.

  // ---- Lanes with the same place in their byte are counted together ----

  localparam int unsigned BYTES = MAC_LANES / 8;
  localparam int unsigned NINES = (BYTES + 8) / 9;
  localparam int unsigned COUNT = $clog2(BYTES + 1);

  // Three bytes at a time, then nine: all eight places at once, a vector for each bit of their counts.
  logic [8*9*NINES-1:0] products;
  logic [8*3*NINES-1:0] x, y, z, ones, twos;
  logic [8*NINES-1:0]   p, q, r, s, t, u, carry, sum_twos, carry_twos;
  logic [8*NINES-1:0]   count_bits[4];
  assign products = (8 * 9 * NINES)'(a) & (8 * 9 * NINES)'(w);
  assign {z, y, x} = products;
  assign ones = x ^ y ^ z;
  assign twos = (x & y) | (x & z) | (y & z);
  assign {r, q, p} = ones;
  assign {u, t, s} = twos;
  assign carry = (p & q) | (p & r) | (q & r);
  assign sum_twos = s ^ t ^ u;
  assign carry_twos = (s & t) | (s & u) | (t & u);
  assign count_bits[0] = p ^ q ^ r;
  assign count_bits[1] = sum_twos ^ carry;
  assign count_bits[2] = carry_twos ^ (sum_twos & carry);
  assign count_bits[3] = carry_twos & sum_twos & carry;

  logic [COUNT-1:0] counts[8];
  always_comb begin
    for (int unsigned k = 0; k < 8; k++) begin
      counts[k] = '0;
      for (int unsigned i = 0; i < NINES; i++)
        counts[k] = counts[k] + COUNT'({count_bits[3][8*i+k], count_bits[2][8*i+k],
                                        count_bits[1][8*i+k], count_bits[0][8*i+k]});
    end
  end

  // ---- The counts are added in a tree, in which the right side is worth 2, 4 and 16 times as much in byte mode ----

  localparam int unsigned SUM = $clog2(255 * BYTES + 1) + 1;

  logic        [COUNT+1:0] pairs[3];
  logic signed [COUNT+2:0] top_pair;  // Its right side, the place of the sign, counts negative in signed bytes.
  logic        [COUNT+3:0] low_half;
  logic signed [COUNT+4:0] top_half;
  logic signed [SUM-1:0]   sum;
  always_comb begin
    logic [COUNT:0]   right;
    logic [COUNT+2:0] top_right;
    for (int unsigned i = 0; i < 3; i++) begin
      right = byte_mode ? {counts[2*i+1], 1'b0} : {1'b0, counts[2*i+1]};
      pairs[i] = (COUNT + 2)'(counts[2*i]) + (COUNT + 2)'(right);
    end
    right = byte_mode ? {counts[7], 1'b0} : {1'b0, counts[7]};
    top_right = (COUNT + 3)'(right) ^ {COUNT + 3{byte_signed}};
    top_pair = (COUNT + 3)'(({(COUNT + 3)'(counts[6]), 1'b1} + {top_right, byte_signed}) >> 1);
    low_half = (COUNT + 4)'(pairs[0]) + (byte_mode ? {pairs[1], 2'b0} : (COUNT + 4)'(pairs[1]));
    top_half = (COUNT + 5)'(pairs[2]) + (byte_mode ? {top_pair, 2'b0} : (COUNT + 5)'(top_pair));
    sum = SUM'(low_half) + (byte_mode ? SUM'({top_half, 4'b0}) : SUM'(top_half));
  end

  logic signed [SUM-1:0] term;
  if (MAC_DEPTH == 1) begin : g_direct
    assign term = sum;
  end else begin : g_pipe
    logic signed [SUM-1:0] stages[MAC_DEPTH-1];
    always_ff @(posedge clk) begin
      stages[0] <= sum;
      for (int unsigned i = 1; i < MAC_DEPTH - 1; i++) stages[i] <= stages[i-1];
    end
    assign term = stages[MAC_DEPTH-2];
  end

  // ---- Horner register and accumulator banks ----

  logic [31:0] horner, prior, result, complete;
  logic [31:0] banks[ACC_BANKS];
  assign prior = start ? '0 : shift ? horner << 1 : horner;
  assign result = 32'(({32'(term) ^ {32{negate}}, 1'b1} + {prior, negate}) >> 1);
  assign complete = GAPS && !valid ? horner : result;

  always_ff @(posedge clk) begin
    if (valid) horner <= result;
    if (write) banks[bank] <= complete + (add ? banks[bank] : '0);
    if (drain) drained <= banks[drain_bank];
  end
endmodule
