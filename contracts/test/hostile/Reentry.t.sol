// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtn} from "../../src/interfaces/IDtn.sol";
import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {FussyToken} from "../kit/FussyToken.sol";
import {Fixture} from "../kit/Fixture.sol";
import {TokenMock} from "../kit/Tokens.sol";

/// @notice Every function of the AI contract, entered from a callback and while tokens move. Which of them the lock
/// turns away stands in one table; a function that is not in it fails the test.
contract ReentryTest is Fixture {
    enum Lock {
        NONE, // reads, or moves no money
        MONEY, // closed while money moves, open to callbacks
        ALWAYS // closed to both
    }

    struct Entry {
        string signature;
        Lock lock;
        bytes arguments;
    }

    Entry[] private table;
    Prober private prober;

    function setUp() public override {
        super.setUp();
        prober = new Prober();
        token.mint(address(prober), 100 * USD);
        vm.prank(address(prober));
        token.approve(address(ai), 20 * USD);
        fillTable();
    }

    function newToken() internal override returns (TokenMock) {
        return new FussyToken(6);
    }

    function test_TheTableHasEveryFunction() external view {
        string memory artefact = vm.readFile("out/DtnAi.sol/DtnAi.json");
        string[] memory signatures = vm.parseJsonKeys(artefact, ".methodIdentifiers");
        vm.assertEq(signatures.length, table.length);
        for (uint256 i = 0; i < signatures.length; i++) {
            vm.assertTrue(isInTable(signatures[i]), string.concat("not in the table: ", signatures[i]));
        }
    }

    function test_FromACallback() external {
        for (uint256 i = 0; i < table.length; i++) {
            bytes memory terms = askAsProber();
            aim(i, false);
            respond(terms, success("ok"));
            vm.assertTrue(prober.probed());
            vm.assertEq(isLocked(), table[i].lock == Lock.ALWAYS, table[i].signature);
        }
    }

    function test_WhileTokensMove() external {
        FussyToken(address(token)).tell(address(prober));
        for (uint256 i = 0; i < table.length; i++) {
            vm.prank(address(prober));
            uint256 sessionId = ai.startUserSession(1);
            aim(i, true);
            vm.prank(address(prober));
            ai.closeUserSession(sessionId);
            vm.assertTrue(prober.probed());
            vm.assertEq(isLocked(), table[i].lock != Lock.NONE, table[i].signature);
        }
    }

    /// @dev ETH comes with too little gas for much, so one function at a time, and only those that move money.
    function test_WhileEtherMoves() external {
        vm.deal(address(prober), 1 ether);
        for (uint256 i = 0; i < table.length; i++) {
            if (table[i].lock == Lock.NONE) continue;
            bytes memory terms = askAsProber(0.001 ether);
            prober.disarm();
            prober.aimOnEther(address(ai), callOf(i));
            respond(terms, success("ok"));
            vm.assertTrue(prober.probed());
            vm.assertTrue(isLocked(), table[i].signature);
        }
    }

    // ─────────────────────────────────────────────── parts ───────────────────────────────────────────

    function isLocked() private view returns (bool) {
        return !prober.done() && bytes4(prober.result()) == IDtnAiEvents.DtnAi_Reentered.selector;
    }

    function isInTable(string memory signature) private view returns (bool) {
        for (uint256 i = 0; i < table.length; i++) {
            if (keccak256(bytes(table[i].signature)) == keccak256(bytes(signature))) return true;
        }
        return false;
    }

    function aim(uint256 i, bool onTokens) private {
        prober.disarm();
        prober.aim(address(ai), callOf(i), onTokens);
    }

    function callOf(uint256 i) private view returns (bytes memory) {
        return abi.encodePacked(bytes4(keccak256(bytes(table[i].signature))), table[i].arguments);
    }

    function askAsProber() private returns (bytes memory) {
        return askAsProber(0);
    }

    function askAsProber(uint256 etherWei) private returns (bytes memory) {
        prober.disarm();
        IDtnAi.CallBack memory callback = IDtnAi.CallBack(Prober.onAnswer.selector, 0, address(prober));
        vm.startPrank(address(prober));
        uint256 sessionId = ai.startUserSession(USD / 5);
        vm.recordLogs();
        ai.request{value: etherWei}(
            sessionId,
            modelId(),
            routing(IDtnAi.AggregationType.ANY, 1),
            question("?"),
            callback,
            address(prober),
            CALLBACK_GAS
        );
        vm.stopPrank();
        return publishedTerms();
    }

    function add(string memory signature, Lock lock, bytes memory arguments) private {
        table.push(Entry(signature, lock, arguments));
    }

    function fillTable() private {
        IDtnAi.DtnRouting memory route = routing(IDtnAi.AggregationType.ANY, 1);
        IDtnAi.CallBack memory nobody;
        bytes32 word = bytes32(uint256(1));
        add("startUserSession()", Lock.MONEY, "");
        add("startUserSession(uint256)", Lock.MONEY, abi.encode(1));
        add("startUserSessionWithPermit(uint256,uint256,uint8,bytes32,bytes32)", Lock.MONEY, abi.encode(1, 1, 1, 1, 1));
        add(
            "startUserSessionWithAuthorization(address,uint256,uint256,uint256,bytes32,bytes)",
            Lock.MONEY,
            abi.encode(owner.addr, 1, 0, 1, word, "")
        );
        add("fundSession(uint256)", Lock.MONEY, abi.encode(1));
        add("fundSession(uint256,uint256)", Lock.MONEY, abi.encode(1, 1));
        add("closeUserSession(uint256)", Lock.MONEY, abi.encode(1));
        add("claimRefund(address)", Lock.MONEY, abi.encode(address(prober)));
        add("withdraw(bytes32,address)", Lock.MONEY, abi.encode(word, address(prober)));
        add(
            "request(uint256,bytes32,bytes32[],(bytes,bytes,uint8,uint256,uint256,uint256),(bytes4,bytes4,address),address,uint256)",
            Lock.MONEY,
            abi.encode(0, modelId(), route.trustNamespaceIds, question("?"), nobody, address(0), 0)
        );
        add(
            "request(uint256,bytes32,(bytes32[],bytes32[],uint32,uint8,uint8),(bytes,bytes,uint8,uint256,uint256,uint256),(bytes4,bytes4,address),address,uint256)",
            Lock.MONEY,
            abi.encode(0, modelId(), route, question("?"), nobody, address(0), 0)
        );
        add(
            "request(uint256,bytes32,(bytes32[],bytes32[],uint32,uint8,uint8),(bytes,bytes,uint8,uint256,uint256,uint256),(bytes4,bytes4,address),address,uint256,(uint32,bool))",
            Lock.MONEY,
            abi.encode(0, modelId(), route, question("?"), nobody, address(0), 0, options())
        );
        add(
            "requestBatch(uint256,(bytes32,(bytes32[],bytes32[],uint32,uint8,uint8),(bytes,bytes,uint8,uint256,uint256,uint256),(bytes4,bytes4,address),address,uint256,uint256,(uint32,bool))[])",
            Lock.MONEY,
            abi.encode(1, new IDtnAi.BatchRequest[](0))
        );
        add(
            "requestOf(address,uint256,(bytes32,(bytes32[],bytes32[],uint32,uint8,uint8),(bytes,bytes,uint8,uint256,uint256,uint256),(bytes4,bytes4,address),address,uint256,uint256,(uint32,bool)))",
            Lock.NONE, // the contract's own
            ""
        );
        add(
            "respondToRequest(bytes,bytes32,(uint8,string,bytes))",
            Lock.ALWAYS,
            abi.encode("", word, success("")) // refused before its terms are looked at
        );
        add(
            "respondToRequest(bytes,(uint8,string,bytes),(bytes32,bytes)[])",
            Lock.ALWAYS,
            abi.encode("", success(""), new IDtnNodes.Seal[](0))
        );
        add(
            "respondToRequest(bytes,bytes[],(bytes32,bytes32,uint256,bytes)[])",
            Lock.ALWAYS,
            abi.encode("", new bytes[](0), new IDtnNodes.Ballot[](0))
        );
        add("expire(bytes)", Lock.ALWAYS, abi.encode(""));
        addNamesAndReads(word);
    }

    function addNamesAndReads(bytes32 word) private {
        add("registerNamespace(string)", Lock.NONE, abi.encode("probers"));
        add("transferNamespace(bytes32,address)", Lock.NONE, abi.encode(word, owner.addr));
        add("registerNode(string,string,address)", Lock.NONE, abi.encode("probers", "one", owner.addr));
        add("retireNode(bytes32)", Lock.NONE, abi.encode(word));
        add("transferNode(bytes32,address)", Lock.NONE, abi.encode(word, owner.addr));
        add("setModel(string,(uint80,uint80,uint80,uint8))", Lock.NONE, abi.encode("m", IDtnNodes.Model(0, 0, 0, 0)));
        string[14] memory reads = [
            "feeToken()",
            "feeTarget()",
            "feeTargetOf(address)",
            "sessionOf(uint256)",
            "claimable(address)",
            "fetchResponse(bytes32)",
            "modelId(string)",
            "administrator()",
            "namespaceOf(bytes32)",
            "nodeOf(bytes32)",
            "earned(bytes32)",
            "modelOf(bytes32)",
            "answerDigest(bytes32,(uint8,string,bytes))",
            "ballotDigest(bytes32,bytes32,uint256)"
        ];
        for (uint256 i = 0; i < reads.length; i++) {
            add(reads[i], Lock.NONE, abi.encode(word));
        }
    }
}

/// @notice Makes one call when it is called back or paid, and remembers what came of it.
contract Prober {
    address private target;
    bytes private data;
    bytes private onEther;
    bool private onTokens_;
    bool private onAnswer_;
    bool public probed;
    bool public done;
    bytes public result;

    function disarm() external {
        (onTokens_, onAnswer_, probed, done) = (false, false, false, false);
        delete onEther;
        delete result;
    }

    function aim(address target_, bytes calldata data_, bool onTokens__) external {
        (target, data, onTokens_, onAnswer_) = (target_, data_, onTokens__, !onTokens__);
    }

    function aimOnEther(address target_, bytes calldata data_) external {
        (target, onEther) = (target_, data_);
        // Warm what the little gas that comes with ETH would be short of.
        (probed, result) = (true, hex"00000000");
    }

    function onAnswer(bytes32) external {
        if (onAnswer_) _probe(data);
    }

    function onTokens(uint256) external {
        if (onTokens_) _probe(data);
    }

    receive() external payable {
        if (onEther.length > 0) _probe(onEther);
    }

    function _probe(bytes memory call) private {
        bytes memory full;
        (done, full) = target.call(call);
        probed = true;
        result = abi.encodePacked(bytes4(full));
    }
}
