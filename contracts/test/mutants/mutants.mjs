// Bugs somebody could have written into the AI contract, and the test that tells of each. `npm run mutants` checks both.
// `edits` are pairs: what stands in `file`, exactly once, and what the bug puts in its place. CI runs those marked `some`.
const WALK = "AiInvariantsOf6DecimalsTest.test_TheHandlerGetsEverywhere";

export default [
  // ──────────────────────────────────────────── whose money ────────────────────────────────────────────
  {
    bug: "anybody moves anybody's session",
    file: "Sessions.sol",
    edits: [["if (_ownerOf(sessionId) != caller) revert DtnAi_SessionNotFound(sessionId, caller);", ""]],
    killer: WALK,
  },
  {
    bug: "deposits of all owners lie in one place",
    some: true,
    file: "Sessions.sol",
    edits: [["return bytes32(uint256(uint160(owner)));", "return owner == address(0) ? bytes32(0) : bytes32(uint256(1));"]],
    killer: "RacesTest.test_SomebodyStartsBeforeTheDepositor",
  },
  {
    bug: "what a closed session is owed goes to whoever answers",
    file: "Responses.sol",
    edits: [
      [
        "_deliver(terms, requestId, status, message, response);\n        _refund(_ownerOf(terms.sessionId), owed);",
        "_deliver(terms, requestId, status, message, response);\n        _refund(msg.sender, owed);",
      ],
    ],
    killer: WALK,
  },
  {
    bug: "a refused refund is forgotten",
    file: "Sessions.sol",
    edits: [["_claimableTokens[owner] += unpaid;", ""]],
    killer: WALK,
  },
  {
    bug: "a claim can be repeated",
    file: "Sessions.sol",
    edits: [["_claimableTokens[msg.sender] = 0;", ""]],
    killer: WALK,
  },
  {
    bug: "a closed session takes money",
    file: "Sessions.sol",
    edits: [["if (session.freeSlot == CLOSED) revert DtnAi_SessionAlreadyClosed(sessionId);", ""]],
    killer: "SessionsTest.test_RevertWhen_FundingAClosedSession",
  },
  {
    bug: "what arrives is not looked at",
    file: "libraries/TokenMoves.sol",
    edits: [["if (arrived != amount) revert IDtnAiEvents.DtnAi_TransferInexact(amount, arrived);", "arrived;"]],
    killer: "TokensTest.test_AFeeOnTheWayIn",
  },
  {
    bug: "a deposit that no session can hold is stuck",
    file: "Sessions.sol",
    edits: [["deposited = Math.min(deposited, type(uint96).max);", ""]],
    killer: "TokensTest.test_ADepositThatNoSessionCanHold",
  },

  // ──────────────────────────────────────────── the books ──────────────────────────────────────────────
  {
    bug: "the hold comes free whole, though a part of it was paid",
    file: "Responses.sol",
    edits: [["session.available += uint96(hold - cost);", "session.available += uint96(hold);"]],
    killer: WALK,
  },
  {
    bug: "an answer counts again",
    some: true,
    file: "Responses.sol",
    edits: [["_slots[(uint256(uint64(terms.sessionId)) << 32) | terms.slot] = word;", "word;"]],
    killer: "ResponsesTest.test_RevertWhen_TheRequestWasAnsweredBefore",
  },
  {
    bug: "one node is held for, whatever the redundancy",
    file: "Requests.sol",
    edits: [["return redundancy * (requestFee + totalFeePerRes);", "return redundancy > 0 ? requestFee + totalFeePerRes : 0;"]],
    killer: WALK,
  },
  {
    bug: "a response costs more than its cap",
    file: "DtnAi.sol",
    edits: [["(fee < terms.totalFeePerRes ? fee : terms.totalFeePerRes)", "fee"]],
    killer: "ResponsesTest.test_WhenTheResponseIsDearerThanItsCap",
  },
  {
    bug: "earnings can be withdrawn again",
    file: "DtnAi.sol",
    edits: [["_nodes[nodeId].earned = 0;", ""]],
    killer: WALK,
  },
  {
    bug: "the slot of a kept response is used again",
    file: "Responses.sol",
    edits: [["if (next != CLOSED) _sessions[terms.sessionId].freeSlot = next;", "next;"]],
    killer: "ResponsesTest.test_GivenACallbackThatReverts",
  },
  {
    bug: "two like requests are one",
    file: "Requests.sol",
    edits: [["terms.serial = session.serial++;", "terms.serial = session.serial;"]],
    killer: "RacesTest.test_TheSameIsAskedTwiceInABlock",
  },
  {
    bug: "a kept response answers to other ids",
    file: "libraries/ResponseStore.sol",
    edits: [["found = uint160(header) == uint160(uint256(requestId));", "found = true;"]],
    killer: "CallbacksTest.testFuzz_AKeptResponseHasOneId",
  },
  {
    bug: "the id zero is pending for ever",
    file: "libraries/ResponseStore.sol",
    edits: [["and(eq(tload(BASE), requestId), gt(lengths, 0))", "eq(tload(BASE), requestId)"]],
    killer: "CallbacksTest.test_TheIdZeroIsNoRequest",
  },

  // ─────────────────────────────────────────── who answers, when ───────────────────────────────────────
  {
    bug: "answers come after the deadline",
    file: "DtnAi.sol",
    edits: [["if (block.timestamp > terms.deadline) revert DtnAi_DeadlinePassed(terms.deadline, block.timestamp);", ""]],
    killer: "RacesTest.test_AnAnswerAndAnExpiryMeetAtTheDeadline",
  },
  {
    bug: "a request expires at its last second",
    some: true,
    file: "DtnAi.sol",
    edits: [["if (block.timestamp <= terms.deadline)", "if (block.timestamp < terms.deadline)"]],
    killer: "RacesTest.test_AnAnswerAndAnExpiryMeetAtTheDeadline",
  },
  {
    bug: "any node answers alone",
    file: "DtnAi.sol",
    edits: [["_requireTrusted(requestId, terms.trusted, nodeId);\n        uint256 fee", "uint256 fee"]],
    killer: WALK,
  },
  {
    bug: "anybody answers for a node",
    file: "DtnAi.sol",
    edits: [["_requireOperator(nodeId);\n        _requireTrusted", "_requireTrusted"]],
    killer: WALK,
  },
  {
    bug: "one signature less is enough",
    file: "DtnAi.sol",
    edits: [["if (given < min || given > max)", "if (given + 1 < min || given > max)"]],
    killer: WALK,
  },
  {
    bug: "more nodes are paid than were held for",
    file: "DtnAi.sol",
    edits: [["if (given < min || given > max)", "if (given < min)"]],
    killer: "ResponsesTest.test_RevertWhen_MoreSealedThanWereHeldFor",
  },
  {
    bug: "one node signs for two",
    file: "DtnAi.sol",
    edits: [["if (nodeId <= last)", "if (nodeId < last)"]],
    killer: "ResponsesTest.test_RevertWhen_OneNodeSealedTwice",
  },
  {
    bug: "signatures are not looked at",
    file: "DtnAi.sol",
    edits: [
      ["if (!_isSignedBy(_nodes[nodeId].operator, digest, signature)) revert DtnAi_SignatureInvalid(nodeId);", "digest; signature;"],
    ],
    killer: WALK,
  },
  {
    bug: "a share of the votes is rounded down",
    file: "libraries/Routings.sol",
    edits: [["(n * routing.confidenceLevel + CONFIDENCE_MAX - 1) / CONFIDENCE_MAX", "n * routing.confidenceLevel / CONFIDENCE_MAX"]],
    killer: "RequestsTest.test_WhenTheVotesConfidenceAsksForMoreThanAMajority",
  },

  // ──────────────────────────────────────────── calling out ────────────────────────────────────────────
  {
    bug: "money is moved while it moves",
    file: "Guarded.sol",
    edits: [["if (before == BUSY) revert IDtnAiEvents.DtnAi_Reentered();", ""]],
    killer: "ReentryTest.test_WhileTokensMove",
  },
  {
    bug: "a callback settles requests",
    file: "Guarded.sol",
    edits: [["if (_lock != OPEN) revert", "if (_lock == BUSY) revert"]],
    killer: "ReentryTest.test_FromACallback",
  },
  {
    bug: "the callback comes before the books",
    some: true,
    file: "Responses.sol",
    edits: [
      ["        uint256 owed = terms.keepResponse\n", "        _deliver(terms, requestId, status, message, response);\n        uint256 owed = terms.keepResponse\n"],
      ["        _deliver(terms, requestId, status, message, response);\n        _refund(", "        _refund("],
    ],
    killer: "GuardedTest.test_WhenACallbackAsksAndStartsAndCloses",
  },
  {
    bug: "a callback gets what gas there is (63/64)",
    file: "libraries/Callbacks.sol",
    edits: [["if (left < needed) revert IDtnNodes.DtnAi_GasTooLow(needed, left);", ""]],
    killer: "CallbacksTest.test_ItGetsItsGasAtTheEdge",
  },
  {
    bug: "a delegation's price is taken from the callback's gas",
    file: "libraries/Callbacks.sol",
    edits: [["CALL_COST = 8_000;", "CALL_COST = 3_000;"]],
    killer: "CallbacksTest.test_ItGetsItsGasThroughADelegation",
  },
  {
    bug: "an owner that burns gas keeps its requests from settling",
    file: "Sessions.sol",
    edits: [["TokenMoves.push(feeToken, owner, amount, TOKEN_GAS)", "TokenMoves.push(feeToken, owner, amount, gasleft())"]],
    killer: "TokensTest.test_TheOwnerBurnsAllGasAsItIsPaid",
  },
  {
    bug: "an owner that gives too much back keeps its requests from settling",
    file: "libraries/TokenMoves.sol",
    edits: [["Math.saturatingSub(before, IERC20(token).balanceOf(address(this)))", "before - IERC20(token).balanceOf(address(this))"]],
    killer: "TokensTest.test_TheOwnerGivesMoreBackThanItIsPaid",
  },
  {
    bug: "a batch's ETH is not counted",
    file: "Requests.sol",
    edits: [["if (givenWei != msg.value) revert DtnAi_EtherMismatch(msg.value, givenWei);", ""]],
    killer: "RequestsTest.test_RevertWhen_TheEtherSentIsNotTheSum",
  },
  {
    bug: "ETH of a batch's refused requests stays",
    file: "Requests.sol",
    edits: [["_payEther(msg.sender, refusedWei);", ""]],
    killer: WALK,
  },
  {
    bug: "the user's ETH goes to whoever answers",
    file: "Responses.sol",
    edits: [["_payEther(terms.user, terms.callbackWei - owedWei);", "_payEther(msg.sender, terms.callbackWei - owedWei);"]],
    killer: WALK,
  },
];
