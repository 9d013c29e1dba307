// What several units share: causes of faults and small helpers.

// A package offers more than one unit uses.
/* verilator lint_off UNUSEDPARAM */
package machine_pkg;
  // Causes that the hardware finds itself. Unwritten words (5), races (6) and deadlocks (8) are left to a test bench.
  localparam logic [2:0] FAULT_NONE = 3'd0;
  localparam logic [2:0] FAULT_UNDEFINED = 3'd1;
  localparam logic [2:0] FAULT_UNCONFIGURED = 3'd2;
  localparam logic [2:0] FAULT_ILLEGAL = 3'd3;
  localparam logic [2:0] FAULT_RANGE = 3'd4;
  localparam logic [2:0] FAULT_OVERFLOW = 3'd7;

  // Bits of an index into `count` things.
  function automatic int unsigned index_bits(input int unsigned count);
    index_bits = count > 1 ? $clog2(count) : 1;
  endfunction

  function automatic int unsigned minimum(input int unsigned a, input int unsigned b);
    minimum = a < b ? a : b;
  endfunction

  function automatic int unsigned maximum(input int unsigned a, input int unsigned b);
    maximum = a > b ? a : b;
  endfunction
  // Quotient and remainder. A divider that takes both from one row of subtractions, as wide as the divisor.
  function automatic logic [16:0] divide(input logic [12:0] dividend, input logic [3:0] divisor);
    logic [12:0] quotient;
    logic [4:0]  rest;
    rest = '0;
    for (int i = 12; i >= 0; i--) begin
      rest = {rest[3:0], dividend[i]};
      quotient[i] = rest >= {1'b0, divisor};
      if (quotient[i]) rest = rest - {1'b0, divisor};
    end
    divide = {quotient, rest[3:0]};
  endfunction
endpackage
/* verilator lint_on UNUSEDPARAM */
